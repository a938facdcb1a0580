//! The namespace of a project: made when it is missing, never changed when it is there.

use std::collections::BTreeMap;

use bcs_schemas::Name;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams};

use super::{Executor, Progress, Stop, label, within};

impl Executor<'_> {
    pub(super) async fn ensure_namespace(&self, project: &Name) -> Progress {
        if project.as_str().starts_with("kube-") {
            return Err(Stop::refused(format!("namespace {project} belongs to Kubernetes itself")));
        }
        let namespaces = Api::<Namespace>::all(self.client.clone());
        match within(namespaces.get_opt(project.as_str())).await? {
            Some(found) if found.metadata.deletion_timestamp.is_some() => {
                Err(Stop::failed(format!("namespace {project} is being deleted")))
            }
            Some(_) => Ok(()),
            None => {
                let params = PostParams { field_manager: Some(label::MANAGER.to_owned()), dry_run: false };
                // Lost to somebody who made it at the same time: a conflict, and the next attempt finds it.
                within(namespaces.create(&params, &namespace(project))).await?;
                Ok(())
            }
        }
    }
}

fn namespace(project: &Name) -> Namespace {
    let labels = [(label::MANAGED_BY, label::MANAGER), (label::PROJECT, project.as_str())];
    let labels: BTreeMap<_, _> = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let name = Some(project.to_string());
    Namespace {
        metadata: ObjectMeta { name, labels: Some(labels), ..ObjectMeta::default() },
        ..Namespace::default()
    }
}
