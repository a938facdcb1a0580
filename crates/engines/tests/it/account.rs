//! The account that the engine works with: `k8s/agent/rbac.yaml`, under names of its own, so that it harms nobody on a real cluster.

use std::path::{Path, PathBuf};

use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    config::{AuthInfo, Kubeconfig},
};
use serde_json::{Value, json};

/// What users are given.
const MANIFEST: &str = include_str!("../../../../k8s/agent/rbac.yaml");

/// Nobody has it any more when the test is over.
pub(crate) struct Account {
    pub(crate) name: String,
    client: Client,
}

/// The one of a kind in the manifest.
fn document(kind: &str) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(MANIFEST).expect("is YAML");
    documents.into_iter().find(|document| document["kind"] == kind).expect(kind)
}

impl Account {
    /// Makes it, and answers the kubeconfig with which whoever has it comes.
    pub(crate) async fn make(client: Client, admin: &Path, folder: &Path, id: &str) -> (Self, PathBuf) {
        let name = format!("it-agent-{id}");
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let post = PostParams::default();
        let namespace = Namespace { metadata: metadata.clone(), ..Namespace::default() };
        Api::all(client.clone()).create(&post, &namespace).await.expect("a namespace");
        let account = ServiceAccount { metadata: metadata.clone(), ..ServiceAccount::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
        accounts.create(&post, &account).await.expect("an account");
        let mut role: ClusterRole = serde_json::from_value(document("ClusterRole")).expect("a role");
        role.metadata = metadata.clone();
        Api::all(client.clone()).create(&post, &role).await.expect("a role");
        let mut binding: ClusterRoleBinding =
            serde_json::from_value(document("ClusterRoleBinding")).expect("a binding");
        binding.metadata = metadata;
        binding.role_ref.name.clone_from(&name);
        for subject in binding.subjects.iter_mut().flatten() {
            subject.name.clone_from(&name);
            subject.namespace = Some(name.clone());
        }
        Api::all(client.clone()).create(&post, &binding).await.expect("a binding");
        let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let issued = accounts.create_token_request(&name, &post, &request).await.expect("a token");
        let token = issued.status.and_then(|status| status.token).expect("a token");
        let mut kubeconfig = Kubeconfig::read_from(admin).expect("a kubeconfig");
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() });
        }
        let file = folder.join("agent.kubeconfig");
        let text = serde_json::to_string(&json!(kubeconfig)).expect("is written");
        std::fs::write(&file, text).expect("is written");
        (Self { name, client }, file)
    }

    pub(crate) async fn forget(self) {
        let params = DeleteParams::default();
        let _ = Api::<ClusterRoleBinding>::all(self.client.clone()).delete(&self.name, &params).await;
        let _ = Api::<ClusterRole>::all(self.client.clone()).delete(&self.name, &params).await;
        let _ = Api::<Namespace>::all(self.client.clone()).delete(&self.name, &params).await;
    }
}
