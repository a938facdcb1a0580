//! Calls of the protocol, and what their answers mean.

use bcs_schemas::resource::registry::WebhookDriver;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::zone::Zone;
use crate::{
    domain::Failure,
    driver::http::{Answer, Http},
    externaldns::wire::{Changes, DomainFilter, Endpoint, MEDIA},
};

/// A provider as we reached it.
#[derive(Clone)]
pub(super) struct Session {
    http: Http,
    pub(super) epoch: u64,
}

impl Session {
    /// Agrees on the version, and makes sure that the zone is served.
    pub(super) async fn open(settings: &WebhookDriver, zone: &str, epoch: u64) -> Result<Self, Failure> {
        let http = Http::open("webhook", &settings.url, settings.tls.as_ref()).await?.with("accept", MEDIA);
        let session = Self { http, epoch };
        let answer = session.http.get("/").await?;
        let filter: DomainFilter = session.read("/", &answer)?;
        match filter.refuses(zone) {
            None => Ok(session),
            Some(why) => {
                Err(session.http.failed("the provider", &format!("{why}: expected spec.zone to be served")))
            }
        }
    }

    pub(super) async fn records(&self) -> Result<Zone, Failure> {
        let answer = self.http.get("/records").await?;
        let records: Option<Vec<Endpoint>> = self.read("/records", &answer)?;
        Ok(Zone(records.unwrap_or_default()))
    }

    /// Asks the provider how it would have them, then for all of it; what it was asked for in the end.
    pub(super) async fn apply(&self, mut changes: Changes) -> Result<Changes, Failure> {
        changes.create = self.adjust(changes.create).await?;
        changes.update_new = self.adjust(changes.update_new).await?;
        let body = self.encode(&changes)?;
        let answer = self.http.send(Method::POST, "/records", Some(MEDIA), body).await?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(changes),
            status if status.is_client_error() => Err(Failure::Rejected(self.http.said(&answer))),
            // The protocol has one status for a record that nobody wants and for a provider in trouble: if it still tells its
            // records, it is taken at its word about these.
            status if status.is_server_error() => match self.records().await {
                Ok(_) => Err(Failure::Rejected(format!(
                    "the provider did not take it: {}",
                    self.http.said(&answer)
                ))),
                Err(_) => Err(self.http.unexpected("/records", &answer)),
            },
            _ => Err(self.http.unexpected("/records", &answer)),
        }
    }

    async fn adjust(&self, endpoints: Vec<Endpoint>) -> Result<Vec<Endpoint>, Failure> {
        if endpoints.is_empty() {
            return Ok(endpoints);
        }
        let (path, count) = ("/adjustendpoints", endpoints.len());
        let body = self.encode(&endpoints)?;
        let answer = self.http.send(Method::POST, path, Some(MEDIA), body).await?;
        if answer.status.is_client_error() {
            return Err(Failure::Rejected(self.http.said(&answer)));
        }
        let adjusted: Option<Vec<Endpoint>> = self.read(path, &answer)?;
        match adjusted {
            Some(adjusted) if adjusted.len() == count => Ok(adjusted),
            _ => Err(Failure::Rejected("the provider leaves records out that it does not want".to_owned())),
        }
    }

    fn encode(&self, body: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(body).map_err(|e| self.http.failed("writing", &e.to_string()))
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answer: &Answer) -> Result<T, Failure> {
        if answer.status != StatusCode::OK {
            return Err(self.http.unexpected(path, answer));
        }
        let media =
            answer.headers.get("content-type").and_then(|media| media.to_str().ok()).unwrap_or_default();
        if media != MEDIA {
            return Err(self.http.failed(
                path,
                &format!(
                    "is answered as {media:?}: expected a provider of ExternalDNS, which answers as {MEDIA}"
                ),
            ));
        }
        serde_json::from_slice(&answer.body).map_err(|e| {
            self.http
                .failed(path, &format!("is not as the protocol has it ({e}): {}", self.http.said(answer)))
        })
    }
}
