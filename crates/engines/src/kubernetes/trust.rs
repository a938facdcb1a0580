//! What a webhook needs of its own cluster: a Secret that its replicas share, and the place where the API server reads whom
//! to believe. Every write carries the version that was read, so of two replicas one wins and the other reads again.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    Kubernetes,
    call::{self, within},
    label,
};

/// The cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{asked} failed")]
pub struct Trouble {
    asked: String,
    #[source]
    source: call::Error,
}

/// Where a Secret lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A Secret as it was read.
#[derive(Clone)]
pub struct Shared {
    /// What it holds, by key.
    pub data: BTreeMap<String, Vec<u8>>,
    version: Option<String>,
}

/// A MutatingWebhookConfiguration as it was read.
#[derive(Clone, Debug)]
pub struct Believed {
    webhooks: Vec<(String, Option<Vec<u8>>)>,
    version: Option<String>,
}

impl Believed {
    /// Whether all of its webhooks are believed when one of these certificates (PEM) vouches for them.
    pub fn is(&self, bundle: &str) -> bool {
        self.webhooks.iter().all(|(_, found)| found.as_deref() == Some(bundle.as_bytes()))
    }
}

impl Kubernetes {
    /// Major and minor version of the server: (1, 36).
    pub async fn server_version(&self) -> Result<(u32, u32), Trouble> {
        let asked = within(self.client.apiserver_version()).await;
        let found = asked.map_err(|source| trouble("reading the version of the cluster", source))?;
        Ok((number(&found.major), number(&found.minor)))
    }

    /// The Secret, if there is one.
    pub async fn shared(&self, place: &Place) -> Result<Option<Shared>, Trouble> {
        let Place { namespace, name } = place;
        let found = within(self.secrets(place).get_opt(name)).await;
        let found = found
            .map_err(|source| trouble(&format!("reading Secret {name} in namespace {namespace}"), source))?;
        Ok(found.map(|secret| Shared {
            data: secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect(),
            version: secret.metadata.resource_version,
        }))
    }

    /// Makes the Secret, or replaces it as it was read. False when somebody else was faster: read it again.
    pub async fn share(
        &self,
        place: &Place,
        data: BTreeMap<String, Vec<u8>>,
        before: Option<&Shared>,
    ) -> Result<bool, Trouble> {
        let Place { namespace, name } = place;
        let params = PostParams { field_manager: Some(label::MANAGER.to_owned()), dry_run: false };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some([(label::MANAGED_BY.to_owned(), label::MANAGER.to_owned())].into()),
                resource_version: before.and_then(|before| before.version.clone()),
                ..ObjectMeta::default()
            },
            data: Some(data.into_iter().map(|(key, value)| (key, ByteString(value))).collect()),
            ..Secret::default()
        };
        let secrets = self.secrets(place);
        let written = match before {
            None => within(secrets.create(&params, &secret)).await,
            Some(_) => within(secrets.replace(name, &params, &secret)).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(error) if error.conflict() || (error.missing() && before.is_some()) => Ok(false),
            Err(source) => Err(trouble(&format!("writing Secret {name} in namespace {namespace}"), source)),
        }
    }

    /// Whom the API server believes to be the webhooks of a MutatingWebhookConfiguration, if there is one.
    pub async fn believed(&self, configuration: &str) -> Result<Option<Believed>, Trouble> {
        let found = within(self.configurations().get_opt(configuration)).await;
        let found = found.map_err(|source| {
            trouble(&format!("reading MutatingWebhookConfiguration {configuration}"), source)
        })?;
        Ok(found.map(|found| {
            let hooks = found.webhooks.into_iter().flatten();
            let webhooks = hooks.map(|hook| (hook.name, hook.client_config.ca_bundle.map(|b| b.0))).collect();
            Believed { webhooks, version: found.metadata.resource_version }
        }))
    }

    /// Lets the API server believe whom these certificates (PEM) vouch for, and nothing else about them. False when somebody
    /// else wrote since it was read: read it again.
    pub async fn believe(&self, name: &str, before: &Believed, bundle: &str) -> Result<bool, Trouble> {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let webhook =
            |(name, _): &(String, _)| json!({ "name": name, "clientConfig": { "caBundle": bundle } });
        let webhooks: Vec<Value> = before.webhooks.iter().map(webhook).collect();
        let patch = json!({ "metadata": { "resourceVersion": before.version }, "webhooks": webhooks });
        let params = PatchParams { field_manager: Some(label::MANAGER.to_owned()), ..PatchParams::default() };
        let configurations = self.configurations();
        match within(configurations.patch(name, &params, &Patch::Strategic(patch))).await {
            Ok(_) => Ok(true),
            Err(error) if error.conflict() || error.missing() => Ok(false),
            Err(source) => Err(trouble(&format!("changing MutatingWebhookConfiguration {name}"), source)),
        }
    }

    fn secrets(&self, place: &Place) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &place.namespace)
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }
}

fn trouble(asked: &str, source: call::Error) -> Trouble {
    Trouble { asked: asked.to_owned(), source }
}

/// Some servers write `29+`.
fn number(text: &str) -> u32 {
    let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_write_them() {
        for (text, expected) in [("29", 29), ("29+", 29), ("", 0), ("x", 0), ("1-2", 1)] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
