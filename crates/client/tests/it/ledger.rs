//! A state machine that remembers every effect, so that a test can count them.

use std::collections::BTreeMap;

use bcs_kit::machine::{Ctx, Fact, Request, StateMachine};
use bcs_schemas::{
    deploy::{AppScaled, DeployCommand, DeployEvent},
    outcome::{Rejection, RejectionCode},
    subject::Target,
};
use serde::{Deserialize, Serialize};

/// What was scaled to what, in order, and by how many commands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) effects: Vec<u32>,
    pub(crate) apps: BTreeMap<String, u32>,
}

impl StateMachine for Ledger {
    type Command = DeployCommand;
    /// To how many an object is scaled.
    type Internal = u32;
    type Event = DeployEvent;
    const SNAPSHOT_VERSION: u32 = 1;

    fn decide(
        &self,
        target: &Target,
        request: &Request<DeployCommand, u32>,
        _: &Ctx,
    ) -> Result<Vec<(Target, DeployEvent)>, Rejection> {
        let (replicas, remove) = match request {
            Request::Command(DeployCommand::ScaleApp(wanted)) if wanted.replicas <= 1_000_000 => {
                (wanted.replicas, wanted.remove.clone())
            }
            Request::Internal(replicas) => (*replicas, Vec::new()),
            Request::Command(_) => {
                let words = format!("{target} cannot do that");
                return Err(Rejection::new(RejectionCode::Precondition, words));
            }
        };
        let generation = self.effects.len() as u64 + 1;
        Ok(vec![(target.clone(), AppScaled { generation, replicas, remove }.into())])
    }

    fn evolve(&mut self, fact: &Fact<'_, DeployEvent>) {
        if let DeployEvent::AppScaled(scaled) = fact.event {
            self.effects.push(scaled.replicas);
            self.apps.insert(fact.target.to_string(), scaled.replicas);
        }
    }
}
