//! Brings one application closer to what is wanted: look, plan, ask the agents, note what became of it.

use std::time::Duration;

use bcs_kit::{
    Clock,
    machine::{self, Machine},
    reconcile::Reconciler,
};
use bcs_schemas::CommandId;
use futures::future::join_all;

use super::{statuses::Statuses, steps::Agents, views::Views};
use crate::domain::{
    app::{App, AppKey},
    observed::Observed,
    plan::{self, PlannedStep},
    state::{Deploy, Internal},
    status::{self, Assessment, Verdict},
};

/// Applications.
pub(crate) struct Apps {
    pub(crate) machine: Machine<Deploy>,
    pub(crate) views: Views,
    pub(crate) statuses: Statuses,
    pub(crate) agents: Agents,
    pub(crate) clock: Clock,
}

/// Why an application was not brought closer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Step(String),
    #[error("noting the result")]
    Note(#[from] machine::Error),
}

/// While an application waits, deadlines are looked at this often.
const WHILE_WAITING: Duration = Duration::from_secs(2);

impl Reconciler for Apps {
    type Key = AppKey;
    type Error = Error;

    fn keys(&self) -> Vec<AppKey> {
        self.machine.live().state.apps.keys().cloned().collect()
    }

    async fn reconcile(&self, key: &AppKey) -> Result<Option<Duration>, Error> {
        self.views.synced().await;
        let live = self.machine.live();
        let Some(app) = live.state.apps.get(key) else {
            self.statuses.forget(key);
            return Ok(None);
        };
        let observed = self.assess(key, app).await?;
        let steps = plan::plan(app, &observed, self.clock.now());
        let had_steps = !steps.is_empty();
        let done = self.carry_out(key, app, steps).await;
        self.statuses.set_trouble(key, done.as_ref().err().cloned());
        if done.is_err() {
            self.assess(key, app).await?;
        }
        done.map_err(Error::Step)?;
        let settled = self.statuses.get(key).status.is_some_and(|s| s.reason.is_none());
        Ok((had_steps || !settled).then_some(WHILE_WAITING))
    }
}

impl Apps {
    /// Looks, publishes the status, and notes in the journal what follows from it.
    async fn assess(&self, key: &AppKey, app: &App) -> Result<Observed, Error> {
        let now = self.clock.now();
        let observed = Observed::join(key, app, &self.machine.live().state.clusters, &self.views.look(), now);
        let trouble = self.statuses.get(key).trouble;
        let Assessment { status, verdict } = status::assess(app, &observed, trouble.as_deref(), now);
        let (reason, blocking) = (status.reason.clone(), status.blocking.clone());
        self.statuses.set_status(key, status);
        let generation = app.generation;
        let wish = match verdict {
            Verdict::Complete if app.healthy_revision.as_ref() != Some(&app.revision) => {
                Some(("complete", Internal::Complete { revision: app.revision.clone() }))
            }
            Verdict::Stalled if app.stalled_generation != Some(generation) => {
                let (reason, blocking) = (reason.unwrap_or_default(), blocking.unwrap_or_default());
                Some(("stall", Internal::Stall { generation, reason, blocking }))
            }
            Verdict::Gone => Some(("forget", Internal::Forget { generation })),
            Verdict::None | Verdict::Complete | Verdict::Stalled => None,
        };
        if let Some((purpose, wish)) = wish {
            // Derived from the intent: noting it twice is noting it once. An application that is made again after its
            // deletion begins at generation 1 again, so its birth belongs to the cause.
            let cause = format!("{key} {} {generation} {}", app.created_at, app.revision);
            self.machine.submit(CommandId::derived(&cause, purpose), key.target(), wish).await?;
        }
        Ok(observed)
    }

    /// Clusters work at the same time; within one, steps are taken in order and stop at the first that fails.
    async fn carry_out(&self, key: &AppKey, app: &App, steps: Vec<PlannedStep>) -> Result<(), String> {
        let mut by_cluster: std::collections::BTreeMap<_, Vec<PlannedStep>> = Default::default();
        for step in steps {
            by_cluster.entry(step.cluster.clone()).or_default().push(step);
        }
        let in_cluster = |steps: Vec<PlannedStep>| async move {
            for step in &steps {
                self.agents.execute(key, app, step).await?;
            }
            Ok(())
        };
        join_all(by_cluster.into_values().map(in_cluster)).await.into_iter().collect()
    }
}
