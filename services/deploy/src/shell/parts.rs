//! Carries out what an application needs in one cluster. Each cluster has places of its own, so that an agent that
//! answers late or never keeps waiting what runs in its cluster, and nothing else.

use std::{fmt, sync::Arc, time::Duration};

use bcs_kit::reconcile::{Reconciler, Waker};
use bcs_schemas::Name;
use futures::{StreamExt, stream};

use super::{steps::Agents, world::World};
use crate::domain::{
    app::{App, AppKey},
    plan::{Action, PlannedStep},
};

/// Drains that one agent is asked for at a time.
const AT_ONCE: usize = 16;

/// An application in one cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartKey {
    pub(crate) cluster: Name,
    pub(crate) app: AppKey,
}

impl fmt::Display for PartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.app, self.cluster)
    }
}

/// Parts of applications.
pub(crate) struct Parts {
    pub(crate) world: Arc<World>,
    pub(crate) apps: Waker<AppKey>,
    pub(crate) agents: Agents,
}

/// What an agent, or the bus on the way to it, said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(String);

impl Reconciler for Parts {
    type Key = PartKey;
    type Lane = Name;
    type Error = Failed;
    const PLACES: usize = 32;

    /// None: whoever looks after the application knows when a part has something to do.
    fn keys(&self) -> Vec<PartKey> {
        Vec::new()
    }

    fn lane(&self, part: &PartKey) -> Name {
        part.cluster.clone()
    }

    async fn reconcile(&self, part: &PartKey) -> Result<Option<Duration>, Failed> {
        if !self.world.machine.leads() {
            return Ok(None);
        }
        let live = self.world.machine.live();
        let Some(app) = live.state.wanted(&part.app) else { return Ok(None) };
        let Some(begun) = self.begin(part) else { return Ok(None) };
        let mut done = Ok(());
        for some in together(&begun.steps) {
            let asked: Vec<_> = some.iter().map(|step| self.carry_out(part, app, step)).collect();
            let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
            done = answers.into_iter().collect();
            if done.is_err() {
                break;
            }
        }
        let news = self.world.statuses.set_trouble(&part.app, &part.cluster, done.as_ref().err().cloned());
        if begun.end() || news {
            self.apps.wake(part.app.clone());
        }
        done.map(|()| None).map_err(Failed)
    }
}

/// Drains have nothing to do with each other, so they go together; of all other steps, each begins when the one before it
/// is done.
fn together(steps: &[PlannedStep]) -> impl Iterator<Item = &[PlannedStep]> {
    let drains = |step: &PlannedStep| matches!(step.action, Action::Drain(_));
    steps.chunk_by(move |one, next| drains(one) && drains(next))
}

impl Parts {
    async fn carry_out(&self, part: &PartKey, app: &App, step: &PlannedStep) -> Result<(), String> {
        let starts = matches!(step.action, Action::ScaleUp(_));
        if starts {
            self.world.start_begins(&part.app, &part.cluster);
        }
        let done = self.agents.execute(&part.app, app, step).await;
        if starts {
            self.world.start_ends(&part.app, &part.cluster, done.is_ok());
        }
        done
    }

    /// Plans on what is seen now: what was to be done when this part was woken may be long ago.
    fn begin<'a>(&'a self, part: &'a PartKey) -> Option<Begun<'a>> {
        let live = self.world.machine.live();
        let app = live.state.wanted(&part.app)?;
        let mut under_way = self.world.under_way();
        let now = self.world.clock.now();
        let observed = self.world.look(&part.app, app, now);
        let steps = under_way.next(&part.app, app, observed, now).remove(&part.cluster)?;
        under_way.begin(&part.app, &part.cluster, steps.clone());
        Some(Begun { world: &self.world, part, steps, ended: false })
    }
}

/// Steps that are under way until this is dropped.
struct Begun<'a> {
    world: &'a World,
    part: &'a PartKey,
    steps: Vec<PlannedStep>,
    ended: bool,
}

impl Begun<'_> {
    /// Whether there was more to do meanwhile.
    fn end(mut self) -> bool {
        self.ended = true;
        self.world.under_way().end(&self.part.app, &self.part.cluster)
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.world.under_way().end(&self.part.app, &self.part.cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::Victim;

    #[test]
    fn drains_go_together_and_everything_else_alone_and_in_its_order() {
        let name = |text: &str| Name::new(text).expect("a label");
        let drain = |uid: &str| Action::Drain(Victim { name: uid.to_owned(), uid: uid.to_owned() });
        let actions = [
            Action::Remove,
            Action::ScaleUp(3),
            Action::ScaleUp(4),
            drain("a"),
            drain("b"),
            Action::Remove,
            drain("c"),
        ];
        let step = |action: Action| PlannedStep { cluster: name("c0"), revision: name("r1"), action };
        let steps = actions.map(step);
        let sizes: Vec<usize> = together(&steps).map(<[PlannedStep]>::len).collect();
        assert_eq!(sizes, [1, 1, 1, 2, 1, 1]);
        assert_eq!(together(&steps).collect::<Vec<_>>().concat(), steps);
    }
}
