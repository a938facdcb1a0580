//! The users of a bus.

use std::{fmt, str::FromStr};

use bcs_kit::actor::Scope;
use bcs_schemas::{Name, Service};

/// One who speaks on the bus. Its text is the name of its files: `deploy`, `sidecar-sim-a`, `project-demo`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// Makes streams and buckets, and takes clusters in: `bcs up`, `bcs bus apply`.
    Platform,
    /// A person who looks after the whole installation.
    Operator,
    /// A service.
    Service(Service),
    /// The agent of a cluster, as a process of its own.
    Agent(Name),
    /// The discovery sidecar of a cluster.
    Sidecar(Name),
    /// Sidecars beside instances of one project in a cluster, which hold up their end and keep no registry: in that order.
    Holder(Name, Name),
    /// Programs and people of one project.
    Project(Name),
}

impl User {
    /// Those that every installation has.
    pub fn standard() -> impl Iterator<Item = Self> {
        [Self::Platform, Self::Operator].into_iter().chain(Service::ALL.map(Self::Service))
    }

    /// What the inboxes of this user begin with. Those who send commands have theirs below `_INBOX`, which is where
    /// services may answer; nobody can have an answer sent to a service.
    pub fn inbox(&self) -> String {
        match self {
            Self::Platform | Self::Operator | Self::Project(_) => format!("_INBOX.{self}"),
            Self::Service(_) | Self::Agent(_) | Self::Sidecar(_) | Self::Holder(..) => {
                format!("_INBOX_{self}")
            }
        }
    }

    /// The objects about which it may vouch for an actor: those that it may send commands about.
    pub fn signs_about(&self) -> Option<Scope> {
        match self {
            Self::Operator => Some(Scope::All),
            Self::Platform => Some(Scope::Project(Name::system())),
            Self::Project(project) => Some(Scope::Project(project.clone())),
            Self::Service(_) | Self::Agent(_) | Self::Sidecar(_) | Self::Holder(..) => None,
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("platform"),
            Self::Operator => f.write_str("operator"),
            Self::Service(service) => write!(f, "{service}"),
            Self::Agent(cluster) => write!(f, "agent-{cluster}"),
            Self::Sidecar(cluster) => write!(f, "sidecar-{cluster}"),
            Self::Holder(project, cluster) => write!(f, "holder-{project}.{cluster}"),
            Self::Project(project) => write!(f, "project-{project}"),
        }
    }
}

impl FromStr for User {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| Name::new(name).map_err(|e| e.to_string());
        if let Some(user) = Self::standard().find(|user| user.to_string() == text) {
            return Ok(user);
        }
        match text.split_once('-') {
            Some(("agent", cluster)) => named(cluster).map(Self::Agent),
            Some(("sidecar", cluster)) => named(cluster).map(Self::Sidecar),
            Some(("holder", both)) => {
                let (project, cluster) = both.split_once('.').ok_or_else(|| {
                    format!("{both:?}: expected a project and a cluster, such as shop.sim-a")
                })?;
                Ok(Self::Holder(named(project)?, named(cluster)?))
            }
            Some(("project", project)) => named(project).map(Self::Project),
            _ => Err(format!(
                "{text:?} is no user: expected a service, or such as project-demo or sidecar-sim-a"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_reads_back_from_the_name_of_its_file() {
        let name = |text: &str| Name::new(text).expect("a name");
        let named = [User::Agent(name("a-b")), User::Sidecar(name("sim-a")), User::Project(name("deploy"))];
        let holder = User::Holder(name("a-b"), name("sim-a"));
        for user in User::standard().chain(named).chain([holder]) {
            assert_eq!(user.to_string().parse(), Ok(user));
        }
        for text in ["", "somebody", "project-", "sidecar-A", "holder-shop", "holder-shop.A"] {
            assert!(text.parse::<User>().is_err(), "{text}");
        }
    }
}
