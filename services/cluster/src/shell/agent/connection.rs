//! Keeps an engine open: tries until there is one, and opens another when the kubeconfig changed.

use std::{sync::Arc, time::Duration};

use bcs_engines::{
    Engine,
    kubernetes::connect::{self, Fingerprint},
};
use tokio::sync::{Notify, watch};

use super::{Agent, Slot};

/// How often the kubeconfig is looked at, beside every time that the cluster does not answer.
const LOOK: Duration = Duration::from_secs(5);
/// Pause after the first attempt that failed; each further one doubles it.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs for ever. `doubt` is told when the engine fails: its kubeconfig may have been replaced.
pub(super) async fn keep(agent: Agent, slot: watch::Sender<Slot>, doubt: Arc<Notify>) {
    let mut opened = None;
    let mut pause = PAUSE;
    loop {
        let wait = match another(&agent, opened).await {
            Ok(None) => LOOK,
            Ok(Some((engine, print))) => {
                tracing::info!(cluster = %agent.cluster, anew = opened.is_some(), "engine is open");
                opened = Some(print);
                let _ = slot.send_replace(Ok(engine));
                pause = PAUSE;
                LOOK
            }
            Err(error) => {
                tracing::warn!(cluster = %agent.cluster, %error, "no engine from this kubeconfig, trying again");
                // One that was opened before may still work.
                if opened.is_none() {
                    let _ = slot.send_replace(Err(error.to_string()));
                }
                let wait = pause;
                pause = (pause * 2).min(agent.config.longest_pause.std());
                wait
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => (),
            () = doubt.notified() => (),
        }
    }
}

/// An engine, unless the present one was made from the same.
async fn another(
    agent: &Agent,
    opened: Option<Fingerprint>,
) -> Result<Option<(Arc<dyn Engine>, Fingerprint)>, connect::Error> {
    let print = connect::fingerprint(&agent.spec).await?;
    let engine = match opened {
        Some(before) if before == print => return Ok(None),
        // What may work is given up only for what answers.
        Some(_) => connect::connect(&agent.spec, agent.clock.clone()).await?.0,
        None => connect::open(&agent.spec, agent.clock.clone()).await?,
    };
    Ok(Some((Arc::new(engine), print)))
}
