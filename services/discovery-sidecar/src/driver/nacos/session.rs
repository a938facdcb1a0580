//! Calls of the HTTP API, version 1, and what their answers mean.

use std::time::Duration;

use bcs_schemas::resource::registry::NacosDriver;
use form_urlencoded::Serializer;
use hyper::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use super::layout::Instance;
use crate::{
    domain::Failure,
    driver::{
        http::{Answer, Http, WITHIN},
        secret,
    },
};

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
/// Group of what the sidecar keeps for itself among the configurations.
const GROUP: &str = "BCS";
/// Before everything that it keeps there.
const MARK: &str = "bcs ";
const PAGE: usize = 1000;
const SERVICES: &str = "/v1/ns/service/list";
const INSTANCE: &str = "/v1/ns/instance";
const CONFIGS: &str = "/v1/cs/configs";

/// Nacos as we reached it, and the epoch that we write with.
#[derive(Clone)]
pub(super) struct Session {
    http: Http,
    namespace: String,
    group: String,
    pub(super) epoch: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    access_token: String,
}

#[derive(Deserialize)]
struct Services {
    count: usize,
    doms: Vec<String>,
}

#[derive(Deserialize)]
struct Instances {
    hosts: Vec<Instance>,
}

impl Session {
    /// Logs in, if somebody is named.
    pub(super) async fn open(settings: &NacosDriver, epoch: u64) -> Result<Self, Failure> {
        let http = Http::open("nacos", &settings.url, settings.tls.as_ref()).await?;
        let (namespace, group) = (settings.namespace.clone(), settings.group.clone());
        let mut session = Self { http, namespace, group, epoch };
        let Some(auth) = &settings.auth else { return Ok(session) };
        let password = secret::read("driver.nacos.auth.password", &auth.password).await;
        let password = password.map_err(Failure::Unavailable)?;
        let password = secret::line(&password);
        session.http = session.http.hiding(password);
        let form = form(&[("username", &auth.user), ("password", password)]);
        let path = "/v1/auth/login";
        let answer = session.http.send(Method::POST, path, FORM, form).await?;
        if !answer.status.is_success() {
            let why =
                format!("refuses the user {:?} or its password: {}", auth.user, session.http.said(&answer));
            return Err(session.http.failed(path, &why));
        }
        let Login { access_token } = session.json(path, &answer)?;
        let bearer = format!("Bearer {access_token}");
        session.http =
            session.http.hiding(&access_token).with_secret("the token", "authorization", &bearer)?;
        Ok(session)
    }

    /// The epoch or claim that is kept under this name, if there is one.
    pub(super) async fn kept(&self, name: &str) -> Result<Option<String>, Failure> {
        let query = form(&[("dataId", name), ("group", GROUP), ("tenant", &self.namespace)]);
        let answer = self.http.get(&format!("{CONFIGS}?{query}")).await?;
        match answer.status {
            StatusCode::OK => match answer.text().strip_prefix(MARK) {
                Some(held) => Ok(Some(held.trim().to_owned())),
                None => {
                    let why = format!(
                        "of {name} holds {}: expected what a sidecar wrote into Nacos",
                        self.http.said(&answer)
                    );
                    Err(self.http.failed(CONFIGS, &why))
                }
            },
            StatusCode::NOT_FOUND if answer.text().contains("config data not exist") => Ok(None),
            _ => Err(self.refused(CONFIGS, &answer)),
        }
    }

    /// Done when it is read back: Nacos tells configurations from a copy, that follows a moment later.
    pub(super) async fn keep(&self, name: &str, value: &str) -> Result<(), Failure> {
        let form = form(&[
            ("dataId", name),
            ("group", GROUP),
            ("tenant", &self.namespace),
            ("content", &format!("{MARK}{value}")),
            ("type", "text"),
        ]);
        let answer = self.http.send(Method::POST, CONFIGS, FORM, form).await?;
        if !answer.status.is_success() || answer.text().trim() != "true" {
            return Err(self.refused(CONFIGS, &answer));
        }
        let until = Instant::now() + WITHIN;
        while self.kept(name).await?.is_none_or(|held| held != value) {
            if Instant::now() > until {
                return Err(self.http.failed(CONFIGS, &format!("does not tell {name} as it was written")));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Names of all services of the group.
    pub(super) async fn services(&self) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for page in 1.. {
            let (number, size) = (page.to_string(), PAGE.to_string());
            let query = self.query(&[("pageNo", &number), ("pageSize", &size)]);
            let answer = self.http.get(&format!("{SERVICES}?{query}")).await?;
            let Services { count, doms } = self.read(SERVICES, &answer)?;
            let last = doms.len() < PAGE || names.len() + doms.len() >= count;
            names.extend(doms);
            if last {
                break;
            }
        }
        Ok(names)
    }

    pub(super) async fn instances(&self, service: &str) -> Result<Vec<Instance>, Failure> {
        let query = self.query(&[("serviceName", service), ("healthyOnly", "false")]);
        let path = "/v1/ns/instance/list";
        let answer = self.http.get(&format!("{path}?{query}")).await?;
        Ok(self.read::<Instances>(path, &answer)?.hosts)
    }

    pub(super) async fn register(&self, service: &str, instance: &Instance) -> Result<(), Failure> {
        // Some take a weight of exactly one for none that was given, and keep the one before.
        let weight = if instance.weight == 1.0 { 1.000_001 } else { instance.weight }.to_string();
        let metadata = self.metadata(instance)?;
        let mut form = self.address(service, instance);
        form.push(("weight", weight));
        form.push(("enabled", "true".to_owned()));
        form.push(("metadata", metadata));
        self.change(Method::POST, form).await
    }

    pub(super) async fn deregister(&self, service: &str, instance: &Instance) -> Result<(), Failure> {
        self.change(Method::DELETE, self.address(service, instance)).await
    }

    /// Says that an instance lives still. Whole, so that one that was forgotten meanwhile is the same again.
    pub(super) async fn beat(&self, service: &str, instance: &Instance) -> Result<(), Failure> {
        let beat = serde_json::json!({
            "serviceName": format!("{}@@{service}", self.group), "cluster": instance.cluster_name,
            "ip": instance.ip, "port": instance.port, "weight": instance.weight, "metadata": instance.metadata,
            "scheduled": true, "period": 5000,
        });
        let mut form = self.address(service, instance);
        form.push(("beat", beat.to_string()));
        let path = "/v1/ns/instance/beat";
        let answer = self.http.send(Method::PUT, path, FORM, self.encode(&form)).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refused(path, &answer)) }
    }

    fn address(&self, service: &str, instance: &Instance) -> Vec<(&'static str, String)> {
        vec![
            ("serviceName", service.to_owned()),
            ("ip", instance.ip.clone()),
            ("port", instance.port.to_string()),
            ("clusterName", instance.cluster_name.clone()),
            ("ephemeral", instance.ephemeral.to_string()),
        ]
    }

    async fn change(&self, method: Method, form: Vec<(&'static str, String)>) -> Result<(), Failure> {
        let answer = match method {
            // Parameters of a deletion are not looked for in its body everywhere.
            Method::DELETE => {
                self.http.send(method, &format!("{INSTANCE}?{}", self.encode(&form)), None, "").await?
            }
            _ => self.http.send(method, INSTANCE, FORM, self.encode(&form)).await?,
        };
        match answer.status {
            StatusCode::OK if answer.text().trim() == "ok" => Ok(()),
            status if is_refusal(status, answer.text().trim()) => {
                Err(Failure::Rejected(self.http.said(&answer)))
            }
            _ => Err(self.refused(INSTANCE, &answer)),
        }
    }

    fn metadata(&self, instance: &Instance) -> Result<String, Failure> {
        serde_json::to_string(&instance.metadata).map_err(|e| self.http.failed(INSTANCE, &e.to_string()))
    }

    fn encode(&self, form: &[(&'static str, String)]) -> String {
        let borrowed: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.query(&borrowed)
    }

    fn query(&self, pairs: &[(&str, &str)]) -> String {
        let common = [("namespaceId", self.namespace.as_str()), ("groupName", self.group.as_str())];
        form(&[pairs, &common].concat())
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answer: &Answer) -> Result<T, Failure> {
        match answer.status {
            StatusCode::OK => self.json(path, answer),
            _ => Err(self.refused(path, answer)),
        }
    }

    fn json<T: DeserializeOwned>(&self, path: &str, answer: &Answer) -> Result<T, Failure> {
        let said = || format!("is not the API of Nacos: {}", self.http.said(answer));
        serde_json::from_slice(&answer.body).map_err(|_| self.http.failed(path, &said()))
    }

    fn refused(&self, path: &str, answer: &Answer) -> Failure {
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.http.failed(
                path,
                &format!(
                    "is not allowed: {}: expected driver.nacos.auth to name a user that may",
                    self.http.said(answer)
                ),
            ),
            StatusCode::NOT_FOUND => self.http.failed(
                path,
                &format!(
                    "is not there: {}: expected driver.nacos.url with its context path",
                    self.http.said(answer)
                ),
            ),
            _ => self.http.unexpected(path, answer),
        }
    }
}

/// Whether it understood an instance and does not want it. Nacos says 400; rnacos says 500 to everything, and only its words
/// tell its own trouble from that of what was written.
fn is_refusal(status: StatusCode, words: &str) -> bool {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => true,
        StatusCode::INTERNAL_SERVER_ERROR => words == "overflow" || words.contains(" is invalid"),
        _ => false,
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    // An empty namespace is the public one only if it is left out.
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    Serializer::new(String::new()).extend_pairs(given).finish()
}
