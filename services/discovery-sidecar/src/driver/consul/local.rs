//! Calls of the API of the agent that we reached, about the services that are registered with it.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    layout::{Service, Spelling},
    session::Session,
};
use crate::domain::Failure;

const SELF: &str = "/v1/agent/self";
const SERVICES: &str = "/v1/agent/services";
const REGISTER: &str = "/v1/agent/service/register";
const DEREGISTER: &str = "/v1/agent/service/deregister";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Itself {
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    node_name: String,
}

impl Session {
    /// What has to hold, or to be written, for this agent to be the one that has the services of this owner: at another one they
    /// would not be found, and would stay.
    pub(super) async fn agent(&self, spelling: &Spelling) -> Result<Value, Failure> {
        let answer = self.http.get(SELF).await?;
        let Itself { config: Config { node_name } } = self.read(SELF, &answer)?;
        let key = spelling.agent_key();
        self.first(&key, &node_name, |other| {
            format!(
                "consul: the services of {} are with the agent {other}, and this one is {node_name}: expected driver.consul.url to \
                 lead to that one; delete the key {key} if it is gone for good",
                spelling.owner
            )
        })
        .await
    }

    /// Everything that is registered with the agent, by id. Programs register whatever they like, so nothing is expected of it.
    pub(super) async fn local_services(&self) -> Result<BTreeMap<String, Value>, Failure> {
        let answer = self.http.get(SERVICES).await?;
        self.read(SERVICES, &answer)
    }

    /// Replaces what has the same id. There is no check: it would say nothing that BCS does not say itself.
    pub(super) async fn register(&self, service: &Service) -> Result<(), Failure> {
        let body = json!({
            "ID": service.id, "Name": service.service, "Address": service.address, "Port": service.port,
            "Tags": [], "Meta": service.meta, "Weights": service.weights,
        });
        self.change(REGISTER, REGISTER, body.to_string()).await
    }

    pub(super) async fn deregister(&self, id: &str) -> Result<(), Failure> {
        self.change(DEREGISTER, &format!("{DEREGISTER}/{id}"), String::new()).await
    }

    async fn change(&self, doing: &str, path: &str, body: String) -> Result<(), Failure> {
        let answer = self.http.send(Method::PUT, path, Some("application/json"), body).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            // Somebody was faster.
            StatusCode::NOT_FOUND if answer.text().contains("Unknown service ID") => Ok(()),
            // It read the service and does not want it.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Failure::Rejected(self.http.said(&answer)))
            }
            _ => Err(self.refused(doing, &answer)),
        }
    }
}
