//! The webhook that puts a sidecar into pods: an HTTPS server that the API server of one cluster asks about new pods, and a
//! keeper of its certificate. Every replica of an agent answers, whether it has the lease of its cluster or not, and no answer
//! ever keeps a pod from being made.

mod certificate;
mod desk;
mod door;
mod keeper;

use std::{sync::Arc, time::Duration};

use bcs_kit::{Clock, Tasks};
use bcs_schemas::{Name, resource::ClusterSpec};
use tokio::net::TcpListener;

use self::{desk::Desk, keeper::Keeper};
use super::agent::Report;
use crate::config::Injection;

/// Pause before an address that is in use is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A webhook that is not started yet.
#[derive(Clone)]
pub struct Injector {
    /// Whose pods it is asked about.
    pub cluster: Name,
    /// How the cluster is reached.
    pub spec: ClusterSpec,
    /// Settings.
    pub settings: Arc<Injection>,
    /// Wall time: when certificates are made anew.
    pub clock: Clock,
    /// What it tells about itself.
    pub report: Report,
}

impl Injector {
    /// Starts it; it ends with `tasks`. What it cannot have yet (its address, its certificate, the ear of the API server) it
    /// tries to get for ever, and meanwhile the report says what is missing.
    pub fn start(self, tasks: &Tasks) {
        self.report.injects(Err("its webhook is starting".to_owned()));
        let desk = Arc::new(Desk::new(self.clone()));
        let keeper = Keeper::new(self.clone(), desk.clone());
        let stopping = tasks.stopping();
        tasks.spawn("injector-keeper", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = keeper.keep() => (),
            }
        });
        let stopping = tasks.stopping();
        tasks.spawn("injector", async move {
            let listener = tokio::select! {
                () = stopping.cancelled() => return,
                listener = self.listen() => listener,
            };
            door::serve(listener, desk, stopping).await;
        });
    }

    async fn listen(&self) -> TcpListener {
        let address = self.settings.listen;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    tracing::info!(cluster = %self.cluster, %address, "webhook listens");
                    return listener;
                }
                Err(error) => {
                    tracing::warn!(cluster = %self.cluster, %address, %error, "webhook cannot listen, trying again");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
