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
    type Internal = ();
    type Event = DeployEvent;
    const SNAPSHOT_VERSION: u32 = 1;

    fn decide(
        &self,
        target: &Target,
        request: &Request<DeployCommand, ()>,
        _: &Ctx,
    ) -> Result<Vec<(Target, DeployEvent)>, Rejection> {
        match request {
            Request::Command(DeployCommand::ScaleApp(wanted)) if wanted.replicas <= 1_000_000 => {
                let generation = self.effects.len() as u64 + 1;
                let event =
                    AppScaled { generation, replicas: wanted.replicas, remove: wanted.remove.clone() };
                Ok(vec![(target.clone(), event.into())])
            }
            _ => Err(Rejection::new(RejectionCode::Precondition, format!("{target} cannot do that"))),
        }
    }

    fn evolve(&mut self, fact: &Fact<'_, DeployEvent>) {
        if let DeployEvent::AppScaled(scaled) = fact.event {
            self.effects.push(scaled.replicas);
            self.apps.insert(fact.target.to_string(), scaled.replicas);
        }
    }
}
