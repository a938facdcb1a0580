//! What the sidecar does of what an ExternalDNS asks: it shows a zone, and changes what is not ours in it.

use std::sync::Arc;

use crate::{
    domain::{
        Failure,
        guest::{self, Domains, Refusal, Wish},
    },
    driver::{Driver, Host},
    externaldns::{Ask, Told},
};

/// What it came to: an answer of either kind, or a registry that failed.
pub(crate) type Attended = Result<Result<Told, Refusal>, Failure>;

/// A registry in the hands of somebody else's controller.
pub(crate) struct Attendant {
    pub(crate) driver: Arc<dyn Driver>,
    /// Life time in seconds of records of which nobody says one.
    pub(crate) ttl: u32,
}

impl Attendant {
    pub(crate) async fn does(&self, ask: &Ask) -> Attended {
        let Some(host) = self.driver.host() else {
            let kind = self.driver.capabilities().kind;
            return Ok(Err(Refusal::Never(format!("a registry of kind {kind} keeps no records of others"))));
        };
        match ask {
            Ask::Records(domains) => {
                let view = host.view().await?;
                Ok(Ok(Told::Records(view.shown(domains), view.owned())))
            }
            Ask::Change(domains, wishes) => self.change(host, domains, wishes).await,
        }
    }

    async fn change(&self, host: &dyn Host, domains: &Domains, wishes: &[Wish]) -> Attended {
        let view = host.view().await?;
        let steps = match guest::judge(&view, domains, self.ttl, wishes) {
            Ok(steps) => steps,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let count = steps.len();
        let rounds = match guest::parts(steps, host.room()) {
            Ok(rounds) => rounds,
            Err(why) => return Ok(Err(Refusal::Never(why))),
        };
        let mut done = 0;
        for round in &rounds {
            let behind = || match done {
                0 => String::new(),
                done => format!(" ({done} of {count} record sets are changed, the others are as they were)"),
            };
            match host.edit(round).await {
                Ok(true) => done += round.len(),
                Ok(false) => {
                    let why = format!("somebody changed one of these names just now: look again{}", behind());
                    return Ok(Err(Refusal::Changed(why)));
                }
                Err(Failure::Rejected(why)) => return Ok(Err(Refusal::Never(format!("{why}{}", behind())))),
                Err(failure) => return Err(failure),
            }
        }
        Ok(Ok(Told::Done(count)))
    }
}
