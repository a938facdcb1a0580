//! The state of the service: a fold of its journal.

use std::collections::BTreeSet;

use bcs_kit::machine::{Ctx, Fact, Request, StateMachine};
use bcs_schemas::{
    Name,
    deploy::{AppApplied, DeployCommand, DeployEvent, RolloutStarted},
    outcome::Rejection,
    resource::Labels,
    subject::Target,
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::{
    app::{App, AppKey},
    decide,
    place::Clusters,
    tombstone::Tombstone,
};

/// Everything that `deploy` has decided and still stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    /// Applications.
    pub apps: OrdMap<AppKey, App>,
    /// Clusters that the platform has, as far as `deploy` was told.
    pub clusters: Clusters,
    /// Last generations of applications that were deleted: one that is made again under the name counts on, or what an
    /// engine still holds of the former one would look newer.
    #[serde(default)]
    pub former: OrdMap<AppKey, u64>,
    /// Deleted applications of which something may be left somewhere.
    #[serde(default)]
    pub tombstones: OrdMap<AppKey, Tombstone>,
}

/// What the service's own reconcilers and process managers ask for.
#[derive(Clone, Debug)]
pub enum Internal {
    /// A cluster exists, with these labels.
    ObserveCluster(Labels),
    /// A cluster was removed from the platform.
    ForgetCluster,
    /// Every wanted instance of the revision is available.
    Complete {
        /// The revision.
        revision: Name,
    },
    /// The rollout does not move on.
    Stall {
        /// The intent that does not move on.
        generation: u64,
        /// One sentence.
        reason: String,
        /// The blocking object.
        blocking: String,
    },
    /// Nothing is left of an application that was to be deleted.
    Forget {
        /// The intent that asked for it.
        generation: u64,
        /// Clusters that may hold something nevertheless.
        leftovers: BTreeSet<Name>,
    },
    /// Clusters hold nothing any more of an application that was deleted while they were away.
    Swept {
        /// The clusters.
        clusters: BTreeSet<Name>,
    },
}

impl StateMachine for Deploy {
    type Command = DeployCommand;
    type Internal = Internal;
    type Event = DeployEvent;
    const SNAPSHOT_VERSION: u32 = 2;

    fn decide(
        &self,
        target: &Target,
        request: &Request<DeployCommand, Internal>,
        _: &Ctx,
    ) -> Result<Vec<(Target, DeployEvent)>, Rejection> {
        match request {
            Request::Command(command) => decide::command(self, &AppKey::of(target), command),
            Request::Internal(wish) => Ok(decide::internal(self, target, wish)),
        }
    }

    fn evolve(&mut self, fact: &Fact<'_, DeployEvent>) {
        match fact.event {
            DeployEvent::ClusterJoined(event) => {
                self.clusters.insert(fact.target.name.clone(), event.labels.clone());
            }
            DeployEvent::ClusterLeft(_) => {
                self.clusters.remove(&fact.target.name);
            }
            DeployEvent::AppApplied(event) => self.applied(fact, event),
            DeployEvent::AppDeleted(event) => {
                let key = AppKey::of(fact.target);
                if let Some(app) = self.apps.remove(&key) {
                    self.former.insert(key.clone(), app.generation);
                    if let Some(tombstone) = Tombstone::of(app, &event.leftovers) {
                        self.tombstones.insert(key, tombstone);
                    }
                }
            }
            DeployEvent::LeftoversStopped(event) => {
                let key = AppKey::of(fact.target);
                let left = self.tombstones.remove(&key).and_then(|t| t.without(&event.clusters));
                if let Some(tombstone) = left {
                    self.tombstones.insert(key, tombstone);
                }
            }
            event => {
                if let Some(app) = self.apps.get_mut(&AppKey::of(fact.target)) {
                    changed(app, fact, event);
                }
            }
        }
    }
}

impl Deploy {
    /// What is wanted under a name: the application, or what is left of one that was deleted, to be stopped.
    pub fn wanted(&self, key: &AppKey) -> Option<&App> {
        self.apps.get(key).or_else(|| self.tombstones.get(key).map(|tombstone| &tombstone.app))
    }

    fn applied(&mut self, fact: &Fact<'_, DeployEvent>, event: &AppApplied) {
        let key = AppKey::of(fact.target);
        let AppApplied { generation, labels, spec } = event.clone();
        self.former.remove(&key);
        // What is left of a former application of that name is from now on this one's: surplus of an old revision.
        let held = self.tombstones.remove(&key).map(|tombstone| tombstone.clusters).unwrap_or_default();
        let app = match self.apps.remove(&key) {
            Some(app) => App { labels, spec, generation, remove: Vec::new(), changed_at: fact.at, ..app },
            None => {
                let template = spec.template(0);
                App {
                    labels,
                    spec,
                    generation,
                    restarts: 0,
                    shares: Default::default(),
                    revision: template.revision(),
                    template,
                    healthy_revision: None,
                    remove: Vec::new(),
                    created_at: fact.at,
                    changed_at: fact.at,
                    deleting_since: None,
                    forced: false,
                    held,
                    stalled_generation: None,
                }
            }
        };
        self.apps.insert(key, app);
    }
}

/// What an event changes in an application that exists.
fn changed(app: &mut App, fact: &Fact<'_, DeployEvent>, event: &DeployEvent) {
    match event {
        DeployEvent::AppScaled(event) => {
            app.generation = event.generation;
            app.spec.replicas = event.replicas;
            app.remove = event.remove.clone();
            app.changed_at = fact.at;
        }
        DeployEvent::AppRestarted(event) => {
            app.generation = event.generation;
            app.restarts = event.restarts;
            app.changed_at = fact.at;
        }
        DeployEvent::AppPlaced(event) => {
            app.shares = event.shares.clone();
            app.held
                .extend(event.shares.iter().filter(|(_, share)| **share > 0).map(|(name, _)| name.clone()));
            app.changed_at = fact.at;
        }
        DeployEvent::RolloutStarted(RolloutStarted { revision, template }) => {
            app.revision = revision.clone();
            app.template = template.clone();
            app.changed_at = fact.at;
        }
        DeployEvent::RolloutCompleted(event) => app.healthy_revision = Some(event.revision.clone()),
        DeployEvent::RolloutStalled(_) => app.stalled_generation = Some(app.generation),
        DeployEvent::AppDeletionRequested(event) => {
            app.generation = event.generation;
            app.deleting_since = app.deleting_since.or(Some(fact.at));
            app.forced |= event.force;
        }
        // Those that make or remove an application or a cluster are taken in by the state as a whole.
        DeployEvent::AppApplied(_)
        | DeployEvent::AppDeleted(_)
        | DeployEvent::LeftoversStopped(_)
        | DeployEvent::ClusterJoined(_)
        | DeployEvent::ClusterLeft(_) => (),
    }
}
