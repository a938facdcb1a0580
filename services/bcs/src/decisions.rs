//! Finds decisions in the journals of the services.

use bcs_client::Client;
use bcs_schemas::{
    Service,
    query::{EventView, HistoryQuery},
};

use crate::Failure;

/// What actors are called that are no person.
pub(crate) const SYSTEM: &str = "system";

/// The decisions of the command with this id, or of the command of the event with this id, oldest first; and the service
/// that made them.
pub(crate) async fn of(
    client: &Client,
    id: uuid::Uuid,
) -> Result<Option<(Service, Vec<EventView>)>, Failure> {
    for service in Service::ALL {
        let question = HistoryQuery { id: Some(id), ..HistoryQuery::default() };
        let found = client.events_of(service, &question).await?.data;
        let Some(first) = found.first() else { continue };
        let command = first.command_id.0;
        if command == id {
            return Ok(Some((service, found)));
        }
        let question = HistoryQuery { id: Some(command), ..HistoryQuery::default() };
        return Ok(Some((service, client.events_of(service, &question).await?.data)));
    }
    Ok(None)
}

/// The newest decision about an object below position `before` that `fits`.
pub(crate) async fn newest(
    client: &Client,
    service: Service,
    object: &str,
    before: Option<u64>,
    fits: impl Fn(&EventView) -> bool,
) -> Result<Option<EventView>, Failure> {
    let mut question = HistoryQuery {
        object: Some(object.to_owned()),
        newest_first: true,
        limit: Some(50),
        after: before.map(|seq| seq.to_string()),
        ..HistoryQuery::default()
    };
    loop {
        let page = client.events_of(service, &question).await?;
        if let Some(found) = page.data.into_iter().find(&fits) {
            return Ok(Some(found));
        }
        match page.next {
            Some(next) => question.after = Some(next),
            None => return Ok(None),
        }
    }
}
