//! Lists that do not fit into one message.

use bcs_client::Error;
use bcs_schemas::{
    Service,
    deploy::ScaleApp,
    query::{Answered, Query},
};

use crate::harness::{LONG, Running, Server, accepted, fresh};

type Listed = Answered<Vec<(String, String)>>;

#[tokio::test]
async fn a_list_comes_whole_however_many_pages_it_takes() {
    let server = Server::start();
    let service = Running::start(&server).await;
    let client = server.client().await;
    let mut revision = 0;
    let scales = (0..300).map(|_| {
        let command = client.command(fresh(), ScaleApp { replicas: 1, remove: Vec::new() });
        async move { accepted(command.send(LONG).await.expect("an outcome")).revision }
    });
    for made in futures::future::join_all(scales).await {
        revision = made.max(revision);
    }
    let question = Query { wait_for: Some(revision), ..Query::default() };
    let all: Listed = client.list(Service::Deploy, "app", &question).await.expect("an answer");
    let names: Vec<String> = all.data.iter().map(|(name, _)| name.clone()).collect();
    let mut once = names.clone();
    once.sort();
    once.dedup();
    assert_eq!((once.len(), names.len(), all.next), (300, 300, None));
    assert!(all.revision >= revision);

    let page = Query { limit: Some(7), ..Query::default() };
    let first: Listed = client.list(Service::Deploy, "app", &page).await.expect("an answer");
    assert_eq!(first.data.len(), 7);
    let rest = Query { limit: Some(7), after: first.next, ..Query::default() };
    let second: Listed = client.list(Service::Deploy, "app", &rest).await.expect("an answer");
    assert_eq!(second.data[0].0, names[7]);

    // Whoever does not ask for pages never takes a part for the whole.
    let refused = client.query::<_, serde_json::Value>("bcs.qry.deploy.app.list", &Query::default()).await;
    assert!(
        matches!(&refused, Err(Error::Refused(why)) if why.message.contains("with a limit")),
        "{refused:?}"
    );
    service.stop().await;
}
