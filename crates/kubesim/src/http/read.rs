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
    store::Listing,
};

pub(crate) fn get(api: &Api, target: &Target, call: &Call) -> Reply {
    let found = api
        .store
        .get(target.kind, &target.key())
        .ok_or_else(|| Status::not_found(target.kind, &target.name))?;
    Ok(represent::json(
        StatusCode::OK,
        &represent::one(call.form, target.kind, &found, call.param("includeObject")),
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
    let (mut listing, after) = base(api, target, call)?;
    listing.objects.retain(|o| after.as_ref().is_none_or(|key| Key::of(o) > *key) && selector.matches(o));
    let limit = call.param("limit").parse::<usize>().unwrap_or(0);
    let rest = (limit > 0 && listing.objects.len() > limit).then(|| {
        let remaining = listing.objects.len() - limit;
        listing.objects.truncate(limit);
        let last = listing.objects.last().map(|o| Key::of(o)).unwrap_or_else(|| Key::new("", ""));
        Rest { token: format!("{}/{}/{}", listing.version, last.namespace, last.name), remaining }
    });
    let body = represent::list(call.form, target.kind, &listing, rest, call.param("includeObject"));
    Ok(represent::text(StatusCode::OK, body))
}

/// The state that the list is of, and the last key that earlier pages already had.
fn base(api: &Api, target: &Target, call: &Call) -> Result<(Listing, Option<Key>), Status> {
    let token = call.param("continue");
    if !token.is_empty() {
        let wrong = || Status::bad_request("continue key is not valid");
        let mut parts = token.splitn(3, '/');
        let mut part = || parts.next().ok_or_else(wrong);
        let (version, namespace, name) = (part()?.parse().map_err(|_| wrong())?, part()?, part()?);
        let listing = api.store.list_at(target.kind, &target.namespace, version).map_err(|mut e| {
            e.message =
                "The provided continue parameter is too old to display a consistent list result.".to_owned();
            e
        })?;
        return Ok((listing, Some(Key::new(namespace, name))));
    }
    let version = call.param("resourceVersion");
    if call.param("resourceVersionMatch") == "Exact" {
        let version = version
            .parse()
            .map_err(|_| Status::bad_request("resourceVersionMatch needs a resourceVersion"))?;
        return Ok((api.store.list_at(target.kind, &target.namespace, version)?, None));
    }
    let listing = api.store.list(target.kind, &target.namespace);
    if version.parse::<u64>().is_ok_and(|v| v > listing.version) {
        let message = format!("Too large resource version: {version}, current: {}", listing.version);
        return Err(Status::new(504, "Timeout", message));
    }
    Ok((listing, None))
}
