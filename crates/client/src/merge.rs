//! Several event streams as one. What was there at the beginning is put in the order of time; what comes later is
//! handed on as it comes, for it is in that order by nature.

use std::task::Poll;

use tokio::sync::mpsc::Receiver;

use crate::EventRecord;

/// What a reader of one stream says.
pub(crate) enum Item {
    /// An event.
    Event(Box<EventRecord>),
    /// What follows happens from now on.
    CaughtUp,
}

pub(crate) struct Merge {
    sources: Vec<Source>,
}

struct Source {
    items: Receiver<Item>,
    head: Option<Box<EventRecord>>,
    past: bool,
}

impl Source {
    /// Takes the next past event into the head, or learns that there is none.
    async fn look(&mut self) {
        while self.past && self.head.is_none() {
            match self.items.recv().await {
                Some(Item::Event(event)) => self.head = Some(event),
                Some(Item::CaughtUp) | None => self.past = false,
            }
        }
    }
}

impl Merge {
    pub(crate) fn new(sources: Vec<Receiver<Item>>) -> Self {
        let sources = sources.into_iter().map(|items| Source { items, head: None, past: true });
        Self { sources: sources.collect() }
    }

    pub(crate) async fn next_past(&mut self) -> Option<EventRecord> {
        for source in &mut self.sources {
            source.look().await;
        }
        let oldest = self
            .sources
            .iter_mut()
            .filter(|source| source.head.is_some())
            .min_by_key(|source| source.head.as_ref().map(|event| event.headers.time))?;
        oldest.head.take().map(|event| *event)
    }

    pub(crate) async fn next(&mut self) -> Option<EventRecord> {
        if let Some(event) = self.next_past().await {
            return Some(event);
        }
        std::future::poll_fn(|cx| {
            let mut open = false;
            for source in &mut self.sources {
                match source.items.poll_recv(cx) {
                    Poll::Ready(Some(Item::Event(event))) => return Poll::Ready(Some(*event)),
                    // Nothing is past any more.
                    Poll::Ready(Some(Item::CaughtUp)) => {
                        open = true;
                        cx.waker().wake_by_ref();
                    }
                    Poll::Ready(None) => (),
                    Poll::Pending => open = true,
                }
            }
            if open { Poll::Pending } else { Poll::Ready(None) }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::{CommandId, EventId, envelope::EventHeaders};
    use tokio::sync::mpsc;

    use super::*;

    fn event(service: &str, second: i64) -> Item {
        let headers = EventHeaders {
            id: EventId::derived(service, &second.to_string()),
            type_name: format!("bcs.{service}.app.scaled.v1").parse().expect("is a type"),
            seq: 1,
            shard: 0,
            time: jiff::Timestamp::from_second(second).expect("is an instant"),
            actor: "ada".to_owned(),
            causation: CommandId::derived("a", "b"),
            correlation: CommandId::derived("a", "b"),
            traceparent: None,
        };
        let subject = format!("bcs.evt.{service}.local.demo.app.shop.scaled").parse().expect("is a subject");
        Item::Event(Box::new(EventRecord {
            stream_seq: 1,
            headers,
            subject,
            payload: serde_json::Value::Null,
        }))
    }

    #[tokio::test]
    async fn the_past_comes_in_the_order_of_time_and_then_what_happens() {
        let (first, a) = mpsc::channel(16);
        let (second, b) = mpsc::channel(16);
        for item in [event("deploy", 1), event("deploy", 4), Item::CaughtUp, event("deploy", 9)] {
            assert!(first.send(item).await.is_ok());
        }
        for item in [event("cluster", 2), event("cluster", 3), event("cluster", 5), Item::CaughtUp] {
            assert!(second.send(item).await.is_ok());
        }
        let mut merge = Merge::new(vec![a, b]);
        let mut seen = Vec::new();
        while let Some(event) = merge.next_past().await {
            seen.push(event.headers.time.as_second());
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        assert_eq!(merge.next().await.map(|e| e.headers.time.as_second()), Some(9));
        drop((first, second));
        assert_eq!(merge.next().await, None);
    }
}
