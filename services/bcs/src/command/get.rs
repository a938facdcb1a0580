//! `bcs get`: what services decided comes from queries, what is observed from buckets.

use bcs_client::Client;
use bcs_schemas::{
    Name,
    bucket::{Bucket, ENDPOINTS, Keyed, NODES, REGISTRATIONS, REGISTRIES, WORKLOADS},
    query::{Answered, Query},
};
use clap::{Args, ValueEnum};

use crate::{
    Failure,
    moment::Moment,
    selector::Selector,
    session::Session,
    view::{Listed, Listing},
};

const AFTER: &str = "\
Examples:
  bcs get apps
  bcs get endpoints shop-web -o wide
  bcs get clusters -l environment=local -o json
  bcs get app shop-web --at 2026-11-22T10:00 -o yaml";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// What to list
    kind: Kind,
    /// Only these; instances also by the name of their application
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only those with these labels: tier=web,zone!=b
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
    /// As they were wanted then: a revision (17), a time (2026-11-22T10:00, in UTC) or an age (10m)
    #[arg(long, value_name = "REVISION|TIME|AGE", requires = "names", conflicts_with = "selector")]
    at: Option<Moment>,
}

/// Kinds of things that can be listed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    #[value(aliases = ["app", "application", "applications"])]
    Apps,
    #[value(alias = "cluster")]
    Clusters,
    #[value(aliases = ["node", "no"])]
    Nodes,
    #[value(aliases = ["endpoint", "ep", "instance", "instances", "pod", "pods", "po"])]
    Endpoints,
    #[value(alias = "registration")]
    Registrations,
    #[value(alias = "registry")]
    Registries,
    #[value(alias = "address")]
    Addresses,
    #[value(alias = "workload")]
    Workloads,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let scope = session.scope()?;
        let client = session.connect().await?;
        if let Some(moment) = self.at {
            return self.past(session, &client, moment).await;
        }
        // A name that is no DNS label can still be that of an instance or an address, so it is looked for here.
        let query = Query { project: scope.clone(), ..Query::default() };
        match self.kind {
            Kind::Apps => self.answered(session, client.apps(&query).await?, scope),
            Kind::Clusters => self.answered(session, client.clusters(&Query::default()).await?, None),
            Kind::Addresses => self.answered(session, client.addresses(&query).await?, scope),
            Kind::Nodes => self.observed(session, &client, NODES, None).await,
            Kind::Endpoints => self.observed(session, &client, ENDPOINTS, scope).await,
            Kind::Registrations => self.observed(session, &client, REGISTRATIONS, scope).await,
            Kind::Registries => self.observed(session, &client, REGISTRIES, None).await,
            Kind::Workloads => self.observed(session, &client, WORKLOADS, scope).await,
        }
    }

    async fn past(&self, session: &Session, client: &Client, moment: Moment) -> Result<(), Failure> {
        let (as_of, project) = (client.clock().now(), session.project()?);
        let (mut apps, mut clusters) = (Vec::new(), Vec::new());
        for text in &self.names {
            let name = Name::new(text).map_err(|e| Failure::usage(format!("{text:?}: {e}")))?;
            let missing = || Failure::failed(format!("{name} did not exist at that moment"));
            match self.kind {
                Kind::Apps => {
                    let question = moment.of(Some(project.clone()), name.clone(), as_of);
                    apps.push(client.past_app(&question).await?.data.ok_or_else(missing)?);
                }
                Kind::Clusters => {
                    let question = moment.of(None, name.clone(), as_of);
                    clusters.push(client.past_cluster(&question).await?.data.ok_or_else(missing)?);
                }
                _ => return Err(Failure::usage("--at: only what was decided has a past: apps and clusters")),
            }
        }
        let single = self.names.len() == 1;
        if matches!(self.kind, Kind::Apps) {
            return Listing { items: apps, as_of, revision: None, with_project: false, single }
                .show(session.format());
        }
        Listing { items: clusters, as_of, revision: None, with_project: false, single }.show(session.format())
    }

    fn answered<T: Listed>(
        &self,
        session: &Session,
        answer: Answered<Vec<T>>,
        scope: Option<Name>,
    ) -> Result<(), Failure> {
        let Answered { revision, as_of, data, .. } = answer;
        self.show(
            session,
            Listing { items: data, as_of, revision: Some(revision), with_project: false, single: false },
            scope,
        )
    }

    async fn observed<T: Listed + Keyed>(
        &self,
        session: &Session,
        client: &Client,
        bucket: Bucket<T>,
        scope: Option<Name>,
    ) -> Result<(), Failure> {
        let items = client.observed(bucket, ">").await?.into_values().collect();
        let as_of = client.clock().now();
        self.show(
            session,
            Listing { items, as_of, revision: None, with_project: false, single: false },
            scope,
        )
    }

    fn show<T: Listed>(
        &self,
        session: &Session,
        mut listing: Listing<T>,
        scope: Option<Name>,
    ) -> Result<(), Failure> {
        listing.with_project = scope.is_none();
        if let Some(scope) = &scope {
            listing.items.retain(|item| item.project().is_none_or(|project| project == scope));
        }
        if let Some(selector) = &self.selector {
            if listing.items.iter().any(|item| item.labels().is_none()) {
                return Err(Failure::usage(format!("kind {} has no labels to select by", T::KIND)));
            }
            listing.items.retain(|item| item.labels().is_some_and(|labels| selector.fits(labels)));
        }
        if !self.names.is_empty() {
            listing.items.retain(|item| self.names.iter().any(|name| item.answers_to(name)));
            let missing = |name: &&String| !listing.items.iter().any(|item| item.answers_to(name));
            if let Some(name) = self.names.iter().find(missing) {
                let place = scope.map(|scope| format!(" in project {scope}")).unwrap_or_default();
                return Err(Failure::failed(format!("{} {name} does not exist{place}", T::KIND)));
            }
            listing.single = matches!(
                (listing.items.as_slice(), self.names.as_slice()),
                ([one], [name]) if one.name() == *name
            );
        }
        listing.show(session.format())
    }
}
