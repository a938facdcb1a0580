//! Calls of the HTTP API, and what their answers mean.

use bcs_schemas::resource::registry::PowerDnsDriver;
use futures::{StreamExt, TryStreamExt, stream};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::layout::Spelling;
use crate::{
    domain::Failure,
    driver::{
        http::{Answer, Http},
        rrset::RrSet,
        secret,
    },
};

const JSON: Option<&str> = Some("application/json");
/// Record sets that are asked for at a time.
const AT_ONCE: usize = 8;

/// A zone that is reached, and the epoch that we write with.
#[derive(Clone)]
pub(super) struct Session {
    http: Http,
    /// Path of the zone.
    path: String,
    zone: String,
    url: String,
    pub(super) epoch: u64,
}

/// A zone, with as many of its record sets as were asked for.
#[derive(Deserialize)]
pub(super) struct Zone {
    name: String,
    kind: String,
    pub(super) serial: u64,
    #[serde(default)]
    pub(super) rrsets: Vec<RrSet>,
}

#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    metadata: Vec<String>,
    #[serde(default, skip_serializing)]
    kind: String,
}

#[derive(Serialize)]
struct Replace<'a> {
    changetype: &'static str,
    #[serde(flatten)]
    set: &'a RrSet,
}

#[derive(Serialize)]
struct Patch<'a> {
    rrsets: Vec<Replace<'a>>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Session {
    /// `zone` without its last dot. The installation is claimed and the epoch raised before anything else is done.
    pub(super) async fn open(
        settings: &PowerDnsDriver,
        zone: &str,
        spelling: &Spelling,
        epoch: u64,
    ) -> Result<Self, Failure> {
        let field = "driver.powerdns.key";
        let key = secret::read(field, &settings.key).await.map_err(Failure::Unavailable)?;
        let http = Http::open("powerdns", &settings.url, settings.tls.as_ref()).await?;
        let http = http.with_secret(field, "x-api-key", secret::line(&key))?;
        let path = format!("/api/v1/servers/{}/zones/{zone}.", settings.server);
        let session = Self { http, path, zone: format!("{zone}."), url: settings.url.clone(), epoch };
        session.writable().await?;
        session.claim(spelling).await?;
        session.raise(spelling).await?;
        Ok(session)
    }

    async fn writable(&self) -> Result<(), Failure> {
        let zone = self.zone("?rrsets=false").await?;
        let secondary = ["slave", "consumer"].iter().any(|kind| zone.kind.eq_ignore_ascii_case(kind));
        if secondary || !zone.name.eq_ignore_ascii_case(&self.zone) {
            let why = format!(
                "is zone {} of kind {}: expected {} of kind Native or Master",
                zone.name, zone.kind, self.zone
            );
            return Err(self.http.failed(&self.path, &why));
        }
        Ok(())
    }

    /// Makes sure that the name of the installation is ours.
    async fn claim(&self, spelling: &Spelling) -> Result<(), Failure> {
        let Spelling { claim, platform, installation, .. } = spelling;
        let ours = format!("{platform} {installation}");
        if self.metadata(claim).await?.is_empty() {
            self.keep(claim, &ours).await?;
        }
        // Nothing compares when it is written, so it is looked at afterwards: two that come at once see one of them.
        let held = self.metadata(claim).await?;
        if held.first() == Some(&ours) {
            return Ok(());
        }
        let other = held.first().and_then(|held| held.split_once(' ')).map_or("", |(_, other)| other);
        Err(Failure::Unavailable(format!(
            "powerdns: the owner {platform} is another installation, {other}, and this one, {installation}, writes nothing: \
             set another owner here, or delete the metadata {claim} of zone {} if the other one is gone for good",
            self.zone
        )))
    }

    async fn raise(&self, spelling: &Spelling) -> Result<(), Failure> {
        if self.epoch_held(spelling).await? > self.epoch {
            return self.fenced(spelling).await;
        }
        self.keep(&spelling.epoch, &format!("{} {}", self.epoch, spelling.sets.owner)).await?;
        self.fenced(spelling).await
    }

    /// Fails unless the epoch is ours.
    pub(super) async fn fenced(&self, spelling: &Spelling) -> Result<(), Failure> {
        match self.epoch_held(spelling).await? {
            held if held > self.epoch => Err(Failure::Fenced(held)),
            held if held == self.epoch => Ok(()),
            held => Err(Failure::Unavailable(format!(
                "powerdns: the metadata {} of zone {} says epoch {held} instead of {}: somebody changed it",
                spelling.epoch, self.zone, self.epoch
            ))),
        }
    }

    async fn epoch_held(&self, spelling: &Spelling) -> Result<u64, Failure> {
        let held = self.metadata(&spelling.epoch).await?;
        let number = held.first().and_then(|held| held.split(' ').next()?.parse().ok());
        Ok(number.unwrap_or_default())
    }

    async fn metadata(&self, kind: &str) -> Result<Vec<String>, Failure> {
        let path = format!("{}/metadata/{kind}", self.path);
        let answer = self.http.get(&path).await?;
        // Servers differ in whether nothing is an empty list or not there.
        match answer.status {
            StatusCode::OK => Ok(self.json::<Metadata>(&path, &answer)?.metadata),
            StatusCode::NOT_FOUND => Ok(Vec::new()),
            _ => Err(self.refused(&path, &answer)),
        }
    }

    async fn keep(&self, kind: &str, value: &str) -> Result<(), Failure> {
        let path = format!("{}/metadata/{kind}", self.path);
        let body =
            self.encode(&path, &Metadata { metadata: vec![value.to_owned()], ..Metadata::default() })?;
        let answer = self.http.send(Method::PUT, &path, JSON, body).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refused(&path, &answer)) }
    }

    /// Kind and text of every mark, whoever wrote it.
    pub(super) async fn marks(&self) -> Result<Vec<(String, String)>, Failure> {
        let path = format!("{}/metadata", self.path);
        let answer = self.http.get(&path).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(&path, &answer));
        }
        let all: Vec<Metadata> = self.json(&path, &answer)?;
        let marks = all.into_iter().filter(|mark| mark.kind.starts_with("X-BCS-"));
        Ok(marks.filter_map(|mut mark| Some((mark.kind, mark.metadata.pop()?))).collect())
    }

    pub(super) async fn drop_mark(&self, kind: &str) -> Result<(), Failure> {
        let path = format!("{}/metadata/{kind}", self.path);
        let answer = self.http.send(Method::DELETE, &path, None, Vec::new()).await?;
        let gone = answer.status.is_success() || answer.status == StatusCode::NOT_FOUND;
        if gone { Ok(()) } else { Err(self.refused(&path, &answer)) }
    }

    /// The zone; `query` says with which record sets.
    pub(super) async fn zone(&self, query: &str) -> Result<Zone, Failure> {
        let answer = self.http.get(&format!("{}{query}", self.path)).await?;
        match answer.status {
            StatusCode::OK => self.json(&self.path, &answer),
            _ => Err(self.refused(&self.path, &answer)),
        }
    }

    /// These record sets, by name and type, in their order; empty ones for those that are not there. PowerDNS 4.7
    /// reads the comments of the whole zone for every set, and tells them with it: such a one is asked for everything once.
    pub(super) async fn sets(&self, wanted: &[(&str, &str)]) -> Result<Vec<RrSet>, Failure> {
        let Some((first, rest)) = wanted.split_first() else { return Ok(Vec::new()) };
        let mut told = self.about(first.0, first.1).await?;
        let tells_more = told.iter().any(|set| !is(set, first));
        let mut sets = vec![pick(&mut told, first)];
        if tells_more && rest.len() > 1 {
            let mut all = self.zone("").await?.rrsets;
            sets.extend(rest.iter().map(|set| pick(&mut all, set)));
        } else {
            let reads: Vec<_> = rest.iter().map(|(name, kind)| self.about(name, kind)).collect();
            let told: Vec<Vec<RrSet>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
            sets.extend(told.into_iter().zip(rest).map(|(mut told, set)| pick(&mut told, set)));
        }
        Ok(sets)
    }

    async fn about(&self, name: &str, kind: &str) -> Result<Vec<RrSet>, Failure> {
        Ok(self.zone(&format!("?rrset_name={name}&rrset_type={kind}")).await?.rrsets)
    }

    /// All of them or none.
    pub(super) async fn replace(&self, sets: &[RrSet]) -> Result<(), Failure> {
        let rrsets = sets.iter().map(|set| Replace { changetype: "REPLACE", set }).collect();
        let body = self.encode(&self.path, &Patch { rrsets })?;
        let answer = self.http.send(Method::PATCH, &self.path, JSON, body).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            // It read the batch and says which record it does not want.
            StatusCode::UNPROCESSABLE_ENTITY => Err(self.judge(&answer)),
            _ => Err(self.refused(&self.path, &answer)),
        }
    }

    fn judge(&self, answer: &Answer) -> Failure {
        let said: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
        let Some(Refusal { error }) = said else { return self.http.unexpected(&self.path, answer) };
        if error.contains("does not support editing comments") {
            let why = "cannot be kept: its backend has no comments, in which it is written whose a record is: expected one such as gsqlite3, gmysql or gpgsql";
            return self.http.failed(&self.path, why);
        }
        Failure::Rejected(error)
    }

    fn refused(&self, doing: &str, answer: &Answer) -> Failure {
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unavailable(format!(
                "powerdns: {} refuses the API key in driver.powerdns.key ({})",
                self.url, answer.status
            )),
            StatusCode::NOT_FOUND => Failure::Unavailable(format!(
                "powerdns: {} knows no zone {} ({}): make the zone there, or name the one above it in driver.powerdns.zone",
                self.url,
                self.zone,
                self.http.said(answer)
            )),
            _ => self.http.unexpected(doing, answer),
        }
    }

    fn encode(&self, doing: &str, body: &impl Serialize) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(body).map_err(|e| self.http.failed(doing, &e.to_string()))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, doing: &str, answer: &Answer) -> Result<T, Failure> {
        serde_json::from_slice(&answer.body).map_err(|_| {
            self.http.failed(doing, &format!("is not PowerDNS's API: {}", self.http.said(answer)))
        })
    }
}

fn is(set: &RrSet, (name, kind): &(&str, &str)) -> bool {
    set.name.eq_ignore_ascii_case(name) && set.kind == *kind
}

/// Takes out the set that is wanted.
fn pick(sets: &mut Vec<RrSet>, wanted: &(&str, &str)) -> RrSet {
    let found = sets.iter().position(|set| is(set, wanted)).map(|at| sets.swap_remove(at));
    let (name, kind) = *wanted;
    found.unwrap_or_else(|| RrSet { name: name.to_owned(), kind: kind.to_owned(), ..RrSet::default() })
}
