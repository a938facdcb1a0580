//! One wildcard subscription for all outcomes that this client waits for, told apart by their last token: a
//! subscription per command would cost the server more than the command.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bcs_kit::{Bus, Tasks, bus};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::oneshot;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Bytes>>>>;

/// Where outcomes arrive.
pub(crate) struct Inbox {
    prefix: String,
    next: AtomicU64,
    waiting: Waiting,
}

/// A place in the inbox; giving it up closes it.
pub(crate) struct Place {
    /// What senders write into `bcs-reply-to`.
    pub(crate) address: String,
    /// The first message that arrives.
    pub(crate) answer: oneshot::Receiver<Bytes>,
    token: u64,
    waiting: Waiting,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}

impl Inbox {
    pub(crate) async fn open(bus: &Bus, tasks: &Tasks) -> Result<Self, bus::Error> {
        let prefix = bus.client().new_inbox();
        let subject = format!("{prefix}.*");
        let subscription = bus.client().subscribe(subject).await;
        let mut answers = subscription.map_err(|e| bus::Error::nats("subscribing the inbox", e))?;
        let waiting = Waiting::default();
        let (places, stopping) = (waiting.clone(), tasks.stopping());
        tasks.spawn("client-inbox", async move {
            loop {
                let answer = tokio::select! {
                    () = stopping.cancelled() => break,
                    answer = answers.next() => answer,
                };
                let Some(answer) = answer else { break };
                let token = answer.subject.rsplit('.').next().and_then(|token| token.parse().ok());
                let sender = token.and_then(|token: u64| {
                    places.lock().unwrap_or_else(PoisonError::into_inner).remove(&token)
                });
                // An answer that nobody waits for any more is no news: it is stored with its service.
                if let Some(sender) = sender {
                    let _ = sender.send(answer.payload);
                }
            }
        });
        Ok(Self { prefix, next: AtomicU64::new(0), waiting })
    }

    pub(crate) fn place(&self) -> Place {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(token, sender);
        Place { address: format!("{}.{token}", self.prefix), answer, token, waiting: self.waiting.clone() }
    }
}
