//! Who asks, and what they may do: tokens, impersonation, roles and their bindings.

mod attributes;
mod bootstrap;
mod escalation;
pub(crate) mod review;
mod rules;
mod token;

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

pub(crate) use self::{
    attributes::{Attributes, of_request},
    bootstrap::objects as bootstrap_objects,
    escalation::{check as check_escalation, check_signer},
    rules::authorize,
    token::{Tokens, issue as issue_token},
};
use crate::{connection::Peer, status::Status, store::Store, tls::Subject};

/// Whoever has it may do everything.
pub(crate) const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";

/// Somebody who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

impl Identity {
    fn of(name: &str, uid: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain([AUTHENTICATED]).map(str::to_owned).collect();
        Self { name: name.to_owned(), uid: uid.to_owned(), groups }
    }

    /// A controller of this cluster, by its component.
    pub(crate) fn controller(component: &str) -> Self {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        Self::of(&format!("system:serviceaccount:kube-system:{component}"), "", &groups)
    }

    fn admin() -> Self {
        Self::of("kubernetes-admin", "", &[MASTERS])
    }

    /// By its certificate.
    fn shown(subject: &Subject) -> Self {
        let groups: Vec<&str> = subject.groups.iter().map(String::as_str).collect();
        Self::of(&subject.name, "", &groups)
    }

    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// As reviews show it.
    pub(crate) fn user_info(&self) -> Value {
        let mut info = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        info
    }
}

/// Who asks, by the certificate of the connection, by a bearer token, or by the same as a basic password: kubectl sends no tokens without TLS, but it does send the user part
/// of the server's address. Whoever may can ask in the name of somebody else.
pub(crate) fn authenticate(
    store: &Store,
    tokens: &Tokens,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Identity, Status> {
    let unknown = || Status::new(401, "Unauthorized", "Unauthorized");
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let identity = match given.split_once(' ') {
        Some(("Bearer", token)) => tokens.identity(store, token),
        Some(("Basic", given)) => tokens.is_admin_password(given).then(Identity::admin),
        _ => peer.subject.as_ref().map(Identity::shown),
    };
    impersonated(store, headers, identity.ok_or_else(unknown)?)
}

fn impersonated(store: &Store, headers: &HeaderMap, asks: Identity) -> Result<Identity, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(name) = text("Impersonate-User") else { return Ok(asks) };
    let groups: Vec<&str> =
        headers.get_all("Impersonate-Group").iter().filter_map(|value| value.to_str().ok()).collect();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let user = match account {
        Some((namespace, name)) => Attributes::impersonation("serviceaccounts", namespace, name),
        None => Attributes::impersonation("users", "", name),
    };
    rules::authorize(store, &asks, &user)?;
    for group in &groups {
        rules::authorize(store, &asks, &Attributes::impersonation("groups", "", group))?;
    }
    let mut of_account = Vec::new();
    if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
        of_account = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let groups: Vec<&str> = groups.into_iter().chain(of_account.iter().map(String::as_str)).collect();
    Ok(Identity::of(name, text("Impersonate-Uid").unwrap_or(""), &groups))
}
