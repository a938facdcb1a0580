//! Get and list.

use axum::http::StatusCode;

use super::{
    Api, Call, Reply,
    represent::{self, Rest},
    target::Target,
};
use crate::{
    object::Key,
    selector::{Fields, Labels, Selector},
    status::Status,
    store::{Listing, Part},
};

pub(crate) fn get(api: &Api, target: &Target, call: &Call) -> Reply {
    let found = api
        .store
        .get(target.kind, &target.key())
        .ok_or_else(|| Status::not_found(target.kind, &target.name))?;
    Ok(represent::json(
        StatusCode::OK,
        &represent::one(call.form, target.shown, &found, call.param("includeObject")),
    ))
}

pub(crate) fn selector(call: &Call) -> Result<Selector, Status> {
    Ok(Selector {
        labels: Labels::parse(call.param("labelSelector")).map_err(|e| Status::bad_request(e.to_string()))?,
        fields: Fields::parse(call.param("fieldSelector")).map_err(|e| Status::bad_request(e.to_string()))?,
    })
}

pub(crate) fn list(api: &Api, target: &Target, call: &Call) -> Reply {
    let selector = selector(call)?;
    let from = Start::of(call)?;
    let limit = call.param("limit").parse::<usize>().unwrap_or(0);
    let (listing, rest) = if limit > 0 {
        page(api, target, from, &selector, limit)?
    } else {
        let mut part = from.part(api, target, usize::MAX)?;
        part.objects.retain(|o| selector.matches(o));
        (Listing { version: part.version, objects: part.objects }, None)
    };
    let newest = call.param("resourceVersion");
    if newest.parse::<u64>().is_ok_and(|v| v > listing.version) {
        let message = format!("Too large resource version: {newest}, current: {}", listing.version);
        return Err(Status::new(504, "Timeout", message));
    }
    let body = represent::list(call.form, target.shown, &listing, rest, call.param("includeObject"));
    Ok(represent::text(StatusCode::OK, body))
}

/// Where a list begins.
struct Start {
    /// The moment that it shows, if it is not this one.
    version: Option<u64>,
    /// The last key that earlier pages had.
    after: Option<Key>,
}

impl Start {
    fn of(call: &Call) -> Result<Self, Status> {
        let token = call.param("continue");
        if !token.is_empty() {
            let wrong = || Status::bad_request("continue key is not valid");
            let mut parts = token.splitn(3, '/');
            let mut part = || parts.next().ok_or_else(wrong);
            let version = match part()? {
                "" => None,
                version => Some(version.parse().map_err(|_| wrong())?),
            };
            return Ok(Self { version, after: Some(Key::new(part()?, part()?)) });
        }
        let exact = call.param("resourceVersionMatch") == "Exact";
        let version = call.param("resourceVersion").parse();
        let wrong = |_| Status::bad_request("resourceVersionMatch needs a resourceVersion");
        Ok(Self { version: exact.then_some(version).transpose().map_err(wrong)?, after: None })
    }

    fn part(&self, api: &Api, target: &Target, limit: usize) -> Result<Part, Status> {
        let part = api.store.part(target.kind, &target.namespace, self.version, self.after.as_ref(), limit);
        part.map_err(|mut status| {
            if let Some(last) = self.after.as_ref().filter(|_| status.code == 410) {
                status.message =
                    "The provided continue parameter is too old to display a consistent list result. \
                     You can start a new list without the continue parameter, or use the continue token in this response \
                     to retrieve the remainder of the results."
                        .to_owned();
                // From here it goes on as things are now.
                status.proceed = Some(format!("/{}/{}", last.namespace, last.name));
            }
            status
        })
    }
}

/// What a selector passes over is read in parts of this size.
const SEARCHED: usize = 1000;

fn page(
    api: &Api,
    target: &Target,
    mut from: Start,
    selector: &Selector,
    limit: usize,
) -> Result<(Listing, Option<Rest>), Status> {
    let mut objects = Vec::new();
    loop {
        let size = if selector.is_empty() { limit } else { limit.max(SEARCHED) };
        let part = from.part(api, target, size)?;
        let (version, mut left) = (part.version, part.left + part.objects.len());
        for object in part.objects {
            from.after = Some(Key::of(&object));
            left -= 1;
            if selector.matches(&object) {
                objects.push(object);
            }
            if objects.len() == limit {
                break;
            }
        }
        if left > 0 && objects.len() < limit {
            from.version = Some(version);
            continue;
        }
        // Nobody counts what a selector would still find.
        let remaining = selector.is_empty().then_some(left);
        let rest = from
            .after
            .filter(|_| left > 0)
            .map(|last| Rest { token: format!("{version}/{}/{}", last.namespace, last.name), remaining });
        return Ok((Listing { version, objects }, rest));
    }
}
