//! Subjects, built and read in one place. Every token is a DNS label, so a person can write a subject by hand.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FieldError, Name, Service, name};

/// The object that a command or an event speaks of: `demo/app/shop-web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Project that owns the object.
    pub project: Name,
    /// Kind: `app`, `cluster`.
    pub kind: Name,
    /// Name, unique within project and kind.
    pub name: Name,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.project, self.kind, self.name)
    }
}

impl FromStr for Target {
    type Err = name::Error;
    fn from_str(text: &str) -> Result<Self, name::Error> {
        let mut parts = text.splitn(3, '/').map(Name::new);
        let mut next = || parts.next().unwrap_or_else(|| Name::new(""));
        Ok(Self { project: next()?, kind: next()?, name: next()? })
    }
}

/// Whether a subject carries a command or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// `bcs.cmd.…`
    Command,
    /// `bcs.evt.…`
    Event,
}

impl Flow {
    const fn token(self) -> &'static str {
        match self {
            Self::Command => "cmd",
            Self::Event => "evt",
        }
    }
}

/// `bcs.cmd.<service>.<site>.<project>.<kind>.<name>.<verb>`, or `bcs.evt.…` with a fact at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Command or event.
    pub flow: Flow,
    /// Who decides, or has decided.
    pub service: Service,
    /// Site of the bus, `local` when there is one only.
    pub site: Name,
    /// The object.
    pub target: Target,
    /// Verb or fact.
    pub verb: Name,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flow, service, site, target: Target { project, kind, name }, verb } = self;
        write!(f, "bcs.{}.{service}.{site}.{project}.{kind}.{name}.{verb}", flow.token())
    }
}

impl FromStr for Subject {
    type Err = FieldError;
    fn from_str(text: &str) -> Result<Self, FieldError> {
        let form = "bcs.cmd.<service>.<site>.<project>.<kind>.<name>.<verb>";
        let bad = |problem: String| FieldError::new("subject", problem);
        let tokens: Vec<&str> = text.split('.').collect();
        let ["bcs", flow, service, site, project, kind, name, verb] = tokens[..] else {
            let shown: String = text.chars().take(200).collect();
            return Err(bad(format!("{shown:?} has another form: expected {form}")));
        };
        let flow = match flow {
            "cmd" => Flow::Command,
            "evt" => Flow::Event,
            other => return Err(bad(format!("{other:?} is neither cmd nor evt"))),
        };
        let label = |token: &str, what: &str| Name::new(token).map_err(|e| bad(format!("{what}: {e}")));
        Ok(Self {
            flow,
            service: service.parse().map_err(bad)?,
            site: label(site, "site")?,
            target: Target {
                project: label(project, "project")?,
                kind: label(kind, "kind")?,
                name: label(name, "name")?,
            },
            verb: label(verb, "verb")?,
        })
    }
}

/// Every command of `service` at every site: what its stream binds.
pub fn all_commands(service: Service) -> String {
    format!("bcs.cmd.{service}.>")
}

/// Every event of `service` at every site: what its stream binds.
pub fn all_events(service: Service) -> String {
    format!("bcs.evt.{service}.>")
}

/// Every event of `service` about one object, at every site: what a reader filters by.
pub fn events_about(service: Service, Target { project, kind, name }: &Target) -> String {
    format!("bcs.evt.{service}.*.{project}.{kind}.{name}.*")
}

/// Where a service answers the query `kind`.`verb`.
pub fn query(service: Service, kind: &str, verb: &str) -> String {
    format!("bcs.qry.{service}.{kind}.{verb}")
}

/// Where the agent of `cluster` executes steps.
pub fn agent_steps(site: &Name, cluster: &Name) -> String {
    format!("bcs.agt.{site}.{cluster}.step")
}

/// Where the agent of `cluster` writes marks onto instances.
pub fn agent_marks(site: &Name, cluster: &Name) -> String {
    format!("bcs.agt.{site}.{cluster}.mark")
}

/// Where an agent asks for the cluster's engine to be probed and described at once.
pub fn agent_probe(site: &Name, cluster: &Name) -> String {
    format!("bcs.agt.{site}.{cluster}.probe")
}

/// Where the sidecar that keeps `registry` for `cluster` is asked about it, and told what should change hands.
pub fn registry(site: &Name, cluster: &Name, registry: &Name) -> String {
    format!("bcs.reg.{site}.{cluster}.{registry}")
}

/// Where what `consumer` of `service` could not handle is kept.
pub fn quarantine(service: &str, consumer: &str) -> String {
    format!("bcs.dlq.{service}.{consumer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_reads_back() {
        let text = "bcs.cmd.deploy.local.demo.app.shop-web.scale";
        let subject: Subject = text.parse().expect("is a subject");
        assert_eq!(subject.target.to_string(), "demo/app/shop-web");
        assert_eq!(subject.to_string(), text);
        assert_eq!(subject.target.to_string().parse(), Ok(subject.target));
    }

    #[test]
    fn a_hostile_subject_is_refused_with_the_form_or_the_token() {
        let cases = [
            ("", "another form"),
            ("bcs.cmd.deploy.local.demo.app.shop", "another form"),
            ("bcs.cmd.deploy.local.demo.app.shop.web.scale", "another form"),
            ("bcs.cmd.ship.local.demo.app.shop.scale", "no service"),
            ("bcs.put.deploy.local.demo.app.shop.scale", "neither cmd nor evt"),
            ("bcs.cmd.deploy.local.demo.app.Shop.scale", "name: \"Shop\""),
            ("bcs.cmd.deploy.local.*.app.shop.scale", "project: \"*\""),
        ];
        for (text, words) in cases {
            let error = text.parse::<Subject>().expect_err(text);
            assert!(error.problem.contains(words), "{text}: {error}");
        }
    }
}
