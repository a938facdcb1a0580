//! What a request wants to do, in the terms of roles.

use axum::http::Method;

use crate::{
    http::{Call, Target},
    selector::Fields,
};

/// A verb on a resource, or on a path that is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub verb: String,
    pub group: String,
    /// With its subresource: `pods/log`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    /// Of a path that is no resource.
    pub path: String,
}

impl Attributes {
    pub(super) fn impersonation(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            verb: "impersonate".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A sentence that refuses it.
    pub(super) fn refusal(&self, user: &str) -> String {
        if !self.path.is_empty() {
            return format!("forbidden: User {user:?} cannot {} path {:?}", self.verb, self.path);
        }
        let resource = self.resource.split('/').next().unwrap_or("");
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let name = if self.name.is_empty() { String::new() } else { format!(" {:?}", self.name) };
        let scope = match self.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "{resource}{group}{name} is forbidden: User {user:?} cannot {} resource {:?} in API group {:?} {scope}",
            self.verb, self.resource, self.group
        )
    }
}

pub(crate) fn of_request(target: &Target, call: &Call) -> Attributes {
    let whole = target.name.is_empty();
    let verb = match call.method {
        Method::GET if call.flag("watch") => "watch",
        Method::GET if whole => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if whole => "deletecollection",
        Method::DELETE => "delete",
        _ => "get",
    };
    let mut resource = target.kind.plural.to_owned();
    if !target.subresource.is_empty() {
        resource = format!("{resource}/{}", target.subresource);
    }
    // A list of one object by its name is no more than that object.
    let selected = Fields::parse(call.param("fieldSelector")).ok().and_then(|fields| fields.name());
    let name = if whole { selected.unwrap_or_default() } else { target.name.clone() };
    Attributes {
        verb: verb.to_owned(),
        group: target.shown.group.to_owned(),
        resource,
        namespace: if target.kind.id == "namespaces" {
            target.name.clone()
        } else {
            target.namespace.clone()
        },
        name,
        path: String::new(),
    }
}
