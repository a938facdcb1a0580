//! What each user may publish and hear: what the code does, and no more. Whatever is read is named on the subject of the
//! request for it, so that the server can tell one project or cluster from another.

use std::collections::BTreeSet;

use bcs_kit::bus::{backup, survey};
use bcs_schemas::{Name, Service, bucket, stream, subject};

use super::User;

/// Subjects, with wildcards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What may be published.
    pub publish: BTreeSet<String>,
    /// What may be heard.
    pub subscribe: BTreeSet<String>,
}

/// The rights of a user at a site.
pub fn rights(user: &User, site: &Name) -> Rights {
    let mut rights = Rights::default();
    rights.hears(format!("{}.>", user.inbox()));
    if matches!(user, User::Platform | User::Operator | User::Project(_)) {
        // People ask who they are, and what they may do.
        rights.says(survey::WHO_AM_I);
    }
    match user {
        User::Platform => rights.platform(site),
        User::Operator => rights.operator(),
        User::Service(service) => rights.service(*service, site),
        User::Agent(cluster) => rights.agent(cluster.as_str(), site),
        User::Sidecar(cluster) => rights.sidecar(cluster.as_str(), site),
        User::Holder(project, cluster) => rights.holder(project, cluster),
        User::Project(project) => rights.project(project, site),
    }
    rights
}

/// The consumer through which deploy hears of clusters.
const DEPLOY_CLUSTERS: &str = "deploy-clusters";

impl Rights {
    fn says(&mut self, subject: impl Into<String>) {
        self.publish.insert(subject.into());
    }

    fn hears(&mut self, subject: impl Into<String>) {
        self.subscribe.insert(subject.into());
    }

    fn api(&mut self, operation: impl AsRef<str>) {
        self.says(format!("$JS.API.{}", operation.as_ref()));
    }

    /// Makes streams and buckets, saves and loads them, and begins what only it can begin.
    fn platform(&mut self, site: &Name) {
        self.looks_at_the_catalogue();
        for name in streams().chain(buckets().map(in_stream)) {
            self.api(format!("STREAM.CREATE.{name}"));
            self.api(format!("STREAM.UPDATE.{name}"));
        }
        for stream in backup::irreplaceable() {
            self.api(format!("STREAM.SNAPSHOT.{stream}"));
            self.api(format!("STREAM.RESTORE.{stream}"));
            self.says(format!("$JS.SNAPSHOT.ACK.{stream}.>"));
            self.says(format!("$JS.SNAPSHOT.RESTORE.{stream}.>"));
        }
        // Before a bucket is made, the server is asked what it can.
        self.api("INFO");
        let cluster = Service::Cluster;
        self.says(format!("bcs.cmd.{cluster}.{site}.{}.>", Name::system()));
        self.says(subject::query(cluster, "*", "*"));
        self.reads_events(cluster, ">");
        self.writes(bucket::LEASES.name, "agent.*");
        self.writes(bucket::LEASES.name, "service.*");
        self.watches(bucket::REGISTRIES.name, ">");
        self.writes(bucket::REGISTRIES.name, ">");
    }

    /// Commands and questions of every kind, every look, and quarantine. What is decided and observed is said by others.
    fn operator(&mut self) {
        self.says("bcs.cmd.>");
        self.says("bcs.qry.>");
        // The registries, which only their sidecars can reach.
        self.says("bcs.reg.>");
        self.says("$SRV.>");
        self.looks_at_the_catalogue();
        for service in Service::ALL {
            self.reads_events(service, ">");
            self.api(format!("CONSUMER.CREATE.{}.*", service.event_stream()));
            self.api(format!(
                "CONSUMER.INFO.{}.{}",
                service.command_stream(),
                stream::command_consumer(service)
            ));
        }
        for bucket in buckets() {
            self.watches(bucket, ">");
            self.looks_up(bucket, ">");
        }
        // How much the account holds.
        self.api("INFO");
        self.api(format!("STREAM.MSG.GET.{}", stream::QUARANTINE));
        self.api(format!("STREAM.MSG.DELETE.{}", stream::QUARANTINE));
    }

    fn service(&mut self, service: Service, site: &Name) {
        self.looks_at_the_catalogue();
        self.takes_commands(service);
        self.holds(&bucket::service_lease(service));
        self.says(subject::all_events(service));
        self.api(format!("STREAM.MSG.GET.{}", service.event_stream()));
        self.answers_callers();
        self.hears(format!("bcs.qry.{service}.>"));
        self.hears("$SRV.>");
        match service {
            Service::Cluster => {
                self.observes(">", site, "*");
                self.watches(bucket::CLUSTERS.name, ">");
                self.watches(bucket::NODES.name, ">");
                self.says(format!("bcs.agt.{site}.>"));
            }
            Service::Deploy => {
                self.says(format!("bcs.agt.{site}.*.step"));
                self.says(format!("bcs.agt.{site}.*.mark"));
                self.follows(Service::Cluster, DEPLOY_CLUSTERS);
                self.watches_observations();
            }
            Service::Network => self.watches(bucket::ENDPOINTS.name, ">"),
            Service::Metrics => self.watches_observations(),
        }
    }

    fn agent(&mut self, cluster: &str, site: &Name) {
        for bucket in [
            bucket::ENDPOINTS.name,
            bucket::WORKLOADS.name,
            bucket::NODES.name,
            bucket::CLUSTERS.name,
            bucket::LEASES.name,
        ] {
            self.looks_at(&in_stream(bucket));
        }
        self.observes(&format!("{cluster}.>"), site, cluster);
    }

    /// What the agent of a cluster does; `keys` are those of its observations.
    fn observes(&mut self, keys: &str, site: &Name, cluster: &str) {
        for bucket in [bucket::ENDPOINTS.name, bucket::WORKLOADS.name, bucket::NODES.name] {
            self.watches(bucket, keys);
            self.looks_up(bucket, keys);
            self.writes(bucket, keys);
        }
        self.writes(bucket::CLUSTERS.name, cluster);
        self.holds(&format!("agent.{cluster}"));
        self.hears(format!("bcs.agt.{site}.{cluster}.*"));
        // Those who ask for steps wait for the answer.
        for asking in [Service::Deploy, Service::Cluster] {
            self.says(format!("{}.>", User::Service(asking).inbox()));
        }
    }

    fn sidecar(&mut self, cluster: &str, site: &Name) {
        self.looks_at_the_catalogue();
        let keys = format!("{cluster}.>");
        self.watches(bucket::ENDPOINTS.name, &keys);
        self.looks_up(bucket::ENDPOINTS.name, &keys);
        self.watches(bucket::CLUSTERS.name, cluster);
        for bucket in [bucket::REGISTRATIONS.name, bucket::REGISTRIES.name] {
            self.watches(bucket, &keys);
            self.looks_up(bucket, &keys);
            self.writes(bucket, &keys);
        }
        self.holds(&format!("sidecar.{cluster}.*"));
        self.holds("installation");
        self.hears(format!("bcs.reg.{site}.{cluster}.*"));
        // Nobody else asks.
        self.says(format!("{}.>", User::Operator.inbox()));
    }

    /// Reads what is known of the instances of a project in a cluster, and of the registries there. It says nothing.
    fn holder(&mut self, project: &Name, cluster: &Name) {
        self.looks_at_the_catalogue();
        let keys = format!("{cluster}.{project}.>");
        for bucket in [bucket::ENDPOINTS.name, bucket::REGISTRATIONS.name] {
            self.watches(bucket, &keys);
            self.looks_up(bucket, &keys);
        }
        self.watches(bucket::CLUSTERS.name, cluster.as_str());
        let registries = bucket::of_cluster(cluster);
        self.watches(bucket::REGISTRIES.name, &registries);
        self.looks_up(bucket::REGISTRIES.name, &registries);
    }

    /// Commands about the objects of the project, and the events about them. What is asked of all projects at once
    /// cannot be told apart on its subject, so only the outcome of a command, which is found by its id, can be asked for.
    fn project(&mut self, project: &Name, site: &Name) {
        self.says(format!("bcs.cmd.*.{site}.{project}.>"));
        self.says("bcs.qry.*.outcome.get");
        self.reads_events(Service::Deploy, &format!("*.{project}.>"));
    }

    /// Whether streams and buckets are there, and how they are set.
    fn looks_at_the_catalogue(&mut self) {
        for name in streams().chain(buckets().map(in_stream)) {
            self.looks_at(&name);
        }
    }

    fn looks_at(&mut self, stream: &str) {
        self.api(format!("STREAM.INFO.{stream}"));
    }

    fn takes_commands(&mut self, service: Service) {
        let (stream, consumer) = (service.command_stream(), stream::command_consumer(service));
        self.consumes(stream, &consumer);
        self.api(format!("CONSUMER.RESET.{stream}.{consumer}"));
        self.api(format!("STREAM.MSG.GET.{stream}"));
        self.says(subject::quarantine(service.as_str(), &consumer));
    }

    fn follows(&mut self, service: Service, consumer: &str) {
        self.consumes(service.event_stream(), consumer);
        self.says(subject::quarantine(service.as_str(), consumer));
    }

    /// Reads a stream through its own durable consumer.
    fn consumes(&mut self, stream: &str, consumer: &str) {
        for operation in ["CREATE", "INFO", "MSG.NEXT"] {
            self.api(format!("CONSUMER.{operation}.{stream}.{consumer}"));
        }
        // Servers are about to name the domain and the account as well.
        self.says(format!("$JS.ACK.{stream}.{consumer}.>"));
        self.says(format!("$JS.ACK.*.*.{stream}.{consumer}.>"));
    }

    /// Reads events through consumers that pass away by themselves.
    fn reads_events(&mut self, service: Service, objects: &str) {
        let stream = service.event_stream();
        self.api(format!("CONSUMER.CREATE.{stream}.*.bcs.evt.{service}.{objects}"));
        // Pulled by programs of their own, pushed to ours; then the server asks now and then whether it is too fast.
        self.api(format!("CONSUMER.MSG.NEXT.{stream}.*"));
        self.says(format!("$JS.FC.{stream}.>"));
    }

    /// Outcomes and answers.
    fn answers_callers(&mut self) {
        self.says("_INBOX.>");
    }

    fn watches_observations(&mut self) {
        for bucket in [
            bucket::CLUSTERS.name,
            bucket::WORKLOADS.name,
            bucket::ENDPOINTS.name,
            bucket::REGISTRATIONS.name,
            bucket::REGISTRIES.name,
        ] {
            self.watches(bucket, ">");
        }
    }

    /// Lists or mirrors the keys of a bucket.
    fn watches(&mut self, bucket: &str, keys: &str) {
        let stream = in_stream(bucket);
        self.api(format!("CONSUMER.CREATE.{stream}.*.$KV.{bucket}.{keys}"));
        // The server asks now and then whether it is too fast.
        self.says(format!("$JS.FC.{stream}.>"));
    }

    /// Reads keys one by one.
    fn looks_up(&mut self, bucket: &str, keys: &str) {
        self.api(format!("DIRECT.GET.{}.$KV.{bucket}.{keys}", in_stream(bucket)));
    }

    fn writes(&mut self, bucket: &str, keys: &str) {
        self.says(format!("$KV.{bucket}.{keys}"));
    }

    fn holds(&mut self, lease: &str) {
        // From the leader of the bucket, which the server allows for all of it or none: who holds what is no secret.
        self.api(format!("STREAM.MSG.GET.{}", in_stream(bucket::LEASES.name)));
        self.writes(bucket::LEASES.name, lease);
        // Whoever waits hears that it is given away.
        self.hears(format!("$KV.{}.{lease}", bucket::LEASES.name));
    }
}

fn streams() -> impl Iterator<Item = String> {
    stream::all().into_iter().map(|spec| spec.name)
}

fn buckets() -> impl Iterator<Item = &'static str> {
    bucket::ALL.into_iter().map(|(name, _)| name)
}

/// The stream that a bucket is.
fn in_stream(bucket: impl AsRef<str>) -> String {
    format!("KV_{}", bucket.as_ref())
}

#[cfg(test)]
mod tests;
