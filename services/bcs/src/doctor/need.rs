//! What somebody who looks after an installation does on the bus, and which subjects that needs. Pure.

use bcs_kit::bus::survey::{Allowed, Subjects, catalogue};
use bcs_schemas::{Name, Service, bucket, stream, subject};

/// Something that one may want to do.
pub(super) struct Need {
    /// In words: `look at streams and buckets`.
    pub(super) what: &'static str,
    /// What must be allowed to be published for it.
    pub(super) subjects: Vec<String>,
    /// Whether it is the work of somebody else, usually.
    pub(super) elsewhere: bool,
}

/// All of them, at a site and in a project.
pub(super) fn needs(site: &Name, project: &Name) -> Vec<Need> {
    let need = |what, subjects| Need { what, subjects, elsewhere: false };
    let observations = bucket::ALL.map(|(name, _)| watch(name)).to_vec();
    let quarantine =
        ["GET", "DELETE"].map(|verb| format!("$JS.API.STREAM.MSG.{verb}.{}", stream::QUARANTINE));
    let make = catalogue().iter().map(|part| format!("$JS.API.STREAM.CREATE.{}", part.stream())).collect();
    let events = Service::ALL.map(|service| {
        let stream = service.event_stream();
        format!("$JS.API.CONSUMER.CREATE.{stream}.*.{}", subject::all_events(service))
    });
    vec![
        need("look at streams and buckets", catalogue().iter().map(|part| info(&part.stream())).collect()),
        need("see how far services are behind", Service::ALL.map(lag).to_vec()),
        need("see what room is left", vec![ROOM.to_owned()]),
        need("ask services how they are", Service::ALL.map(status).to_vec()),
        need("list clusters", vec![clusters()]),
        need("list applications", vec![subject::query(Service::Deploy, "app", "list")]),
        need("look at observations", observations),
        need("read events of all projects", events.to_vec()),
        need("command the project's applications", vec![format!("bcs.cmd.deploy.{site}.{project}.app.>")]),
        need("command clusters", vec![format!("bcs.cmd.cluster.{site}.{}.>", Name::system())]),
        need("look after quarantine", quarantine.to_vec()),
        need("ask registries", vec![format!("bcs.reg.{site}.>")]),
        Need { what: "make streams and buckets", subjects: make, elsewhere: true },
    ]
}

/// Where the account is looked at.
pub(super) const ROOM: &str = "$JS.API.INFO";

/// Where a stream is looked at.
pub(super) fn info(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

/// Where the consumer of a service's commands is looked at.
pub(super) fn lag(service: Service) -> String {
    consumer(service.command_stream(), &stream::command_consumer(service))
}

/// Where a consumer is looked at.
pub(super) fn consumer(stream: &str, name: &str) -> String {
    format!("$JS.API.CONSUMER.INFO.{stream}.{name}")
}

/// Where a service is asked how it is.
pub(super) fn status(service: Service) -> String {
    subject::query(service, "service", "status")
}

/// Where clusters are asked for.
pub(super) fn clusters() -> String {
    subject::query(Service::Cluster, "cluster", "list")
}

/// Where all of a bucket is read.
pub(super) fn watch(bucket: &str) -> String {
    format!("$JS.API.CONSUMER.CREATE.KV_{bucket}.*.$KV.{bucket}.>")
}

impl Need {
    /// The first subject that it lacks.
    pub(super) fn lacks(&self, rights: &Allowed) -> Option<&str> {
        self.subjects.iter().map(String::as_str).find(|subject| !allows(&rights.publish, subject))
    }
}

/// Whether all that a subject with wildcards means is allowed.
pub(super) fn allows(granted: &Subjects, wanted: &str) -> bool {
    let allowed = granted.allow.is_empty() || granted.allow.iter().any(|grant| covers(grant, wanted));
    allowed && !granted.deny.iter().any(|denied| covers(denied, wanted))
}

/// Whether everything that `wanted` matches is matched by `grant`.
fn covers(grant: &str, wanted: &str) -> bool {
    let (mut grant, mut wanted) = (grant.split('.'), wanted.split('.'));
    loop {
        match (grant.next(), wanted.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(">")) => return false,
            (Some(granted), Some(asked)) if granted == "*" || granted == asked => (),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{User, rights};

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn a_grant_covers_what_it_matches_all_of() {
        for (grant, wanted, covered) in [
            (">", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.>", false),
            ("a.*", "a.*", true),
            ("a.b", "a.*", false),
            ("a.>", "a.*.>", true),
            ("a.b", "a.b.c", false),
        ] {
            assert_eq!(covers(grant, wanted), covered, "{grant} {wanted}");
        }
        let all = Subjects::default();
        assert!(allows(&all, "anything"), "no list is no limit");
        let denied = Subjects { deny: vec!["a.>".to_owned()], ..Subjects::default() };
        assert!(!allows(&denied, "a.b") && allows(&denied, "b"));
    }

    fn cannot(user: &User) -> Vec<&'static str> {
        let publish = rights(user, &name("local")).publish.into_iter().collect();
        let granted =
            Allowed { publish: Subjects { allow: publish, deny: Vec::new() }, ..Allowed::default() };
        let needs = needs(&name("local"), &name("demo"));
        needs.iter().filter(|need| need.lacks(&granted).is_some()).map(|need| need.what).collect()
    }

    #[test]
    fn an_operator_may_do_all_that_is_examined_and_a_project_little() {
        assert_eq!(cannot(&User::Operator), ["make streams and buckets"]);
        let project = cannot(&User::Project(name("demo")));
        assert!(project.contains(&"look at streams and buckets") && project.contains(&"list clusters"));
        assert!(!project.contains(&"command the project's applications"), "{project:?}");
        let other = cannot(&User::Project(name("other")));
        assert!(other.contains(&"command the project's applications"), "{other:?}");
    }
}
