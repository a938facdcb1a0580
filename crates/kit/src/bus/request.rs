//! Core request and reply with the codec: queries and agent steps. The promise starts with the answer.

use std::{sync::Arc, time::Duration};

use async_nats::{RequestErrorKind, client::RequestError};
use bcs_schemas::{
    FieldError,
    codec::{self, ContentType},
    envelope::header,
};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Semaphore, time::Instant};

use super::{Bus, Error, repeat::Repeats};
use crate::{Tasks, telemetry};

/// How many questions on one subject are worked on at once.
const CONCURRENCY: usize = 256;
/// Whoever insists asks again after this time without an answer, and after twice as long each time, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// Between two times that it is asked while nobody listens.
const PAUSE: Duration = Duration::from_millis(250);

impl Bus {
    /// Asks and waits for the answer.
    pub async fn request<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        subject: String,
        question: &Q,
        within: Duration,
    ) -> Result<A, Error> {
        let payload = codec::encode(question)?;
        self.ask(&subject, payload, telemetry::trace_headers(), within).await
    }

    /// Asks until there is an answer: again after a while without one, and at once when the connection was lost and made
    /// again. Every time it is the same question, which is worked on once ([`Bus::serve`]): an answer that is lost on its
    /// way costs a second, and not the whole time. When nobody listens at first, that is said at once; once somebody may have
    /// begun, only an answer or the end of the time ends the asking.
    pub async fn insist<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        subject: String,
        question: &Q,
        within: Duration,
    ) -> Result<A, Error> {
        let payload = codec::encode(question)?;
        let mut headers = telemetry::trace_headers();
        headers.push((header::REQUEST_ID, self.client.new_inbox()));
        let (end, (mut patience, longest)) = (Instant::now() + within, AGAIN);
        let mut heard = false;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answered = tokio::select! {
                answered = self.ask(&subject, payload.clone(), headers.clone(), patience.min(left)) => answered,
                () = self.reconnected() => Err(Error::TimedOut(subject.clone())),
            };
            heard |= matches!(answered, Err(Error::TimedOut(_)));
            match answered {
                Err(Error::TimedOut(_)) if Instant::now() < end => patience = (2 * patience).min(longest),
                Err(Error::NoResponder(_)) if heard && Instant::now() < end => {
                    tokio::time::sleep(PAUSE).await
                }
                answered => return answered,
            }
        }
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        subject: &str,
        payload: Bytes,
        headers: Vec<(&'static str, String)>,
        within: Duration,
    ) -> Result<A, Error> {
        let request = async_nats::Request::new()
            .payload(payload)
            .headers(super::headers(headers))
            .timeout(Some(within));
        let sent = self.client.send_request(subject.to_owned(), request).await;
        let answer = sent.map_err(|e| unanswered(subject, e))?;
        codec::decode(&answer.payload).map_err(|source| Error::Answer { subject: subject.to_owned(), source })
    }

    /// Answers questions on `subject` until the group stops. What cannot be read is handed to the handler as an error:
    /// it knows how its answers say so. An answer has the form of its question: JSON for JSON. A question that is asked
    /// again under its id ([`Bus::insist`]) is worked on once.
    pub async fn serve<Q, A, F, Fut>(
        &self,
        tasks: &Tasks,
        name: &'static str,
        subject: String,
        handler: F,
    ) -> Result<(), Error>
    where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        F: Fn(Result<Q, FieldError>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = A> + Send + 'static,
    {
        let (mut inlet, mut questions) = self.listen(&subject).await?;
        let (bus, handler, stopping) = (self.clone(), Arc::new(handler), tasks.stopping());
        let group = tasks.clone();
        let (places, repeats) = (Arc::new(Semaphore::new(CONCURRENCY)), Arc::new(Repeats::default()));
        tasks.spawn(name, async move {
            loop {
                let question = tokio::select! {
                    () = stopping.cancelled() => return inlet.close().await,
                    question = questions.next() => question,
                    () = inlet.ended() => None,
                };
                let Some(question) = question else {
                    tracing::warn!(subject, "questions cannot be heard, subscribing again");
                    match bus.listen(&subject).await {
                        Ok(open) => (inlet, questions) = open,
                        Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                    }
                    continue;
                };
                let Ok(place) = places.clone().acquire_owned().await else { break };
                let (client, handler, repeats) = (bus.client.clone(), handler.clone(), repeats.clone());
                group.spawn(name, async move {
                    answer(&client, &repeats, handler, question).await;
                    drop(place);
                });
            }
        });
        Ok(())
    }

    /// Through a connection of its own: a question with a header that cannot be read breaks it, and nothing else.
    async fn listen(&self, subject: &str) -> Result<(Self, async_nats::Subscriber), Error> {
        let inlet = self.inlet("questions").await?;
        let subscribed = inlet.client.subscribe(subject.to_owned()).await;
        let questions = subscribed.map_err(|e| Error::nats(format!("subscribing {subject}"), e))?;
        Ok((inlet, questions))
    }
}

async fn answer<Q, A, F, Fut>(
    client: &async_nats::Client,
    repeats: &Repeats,
    handler: Arc<F>,
    question: async_nats::Message,
) where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    F: Fn(Result<Q, FieldError>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = A> + Send + 'static,
{
    let async_nats::Message { subject, reply, payload, headers, .. } = question;
    let id = super::header(headers.as_ref(), header::REQUEST_ID);
    let form = form_of(super::header(headers.as_ref(), header::CONTENT_TYPE), &payload);
    let encoded = repeats.answer(id, || async move {
        let payload: &[u8] = if payload.is_empty() { b"{}" } else { &payload };
        let asked = form.clone().and_then(|form| codec::decode_strict(form, payload));
        write(form.unwrap_or_default(), &handler(asked).await)
    });
    let encoded = encoded.await;
    let Some(reply) = reply else { return };
    let sent = match encoded {
        Ok(payload) => client.publish(reply, payload).await.map_err(|e| e.to_string()),
        Err(e) => Err(e),
    };
    if let Err(error) = sent {
        tracing::warn!(%subject, error, "answer was not sent");
    }
}

pub(crate) fn form_of(content_type: Option<&str>, payload: &[u8]) -> Result<ContentType, FieldError> {
    match content_type {
        Some(text) => ContentType::parse(text).map_err(|e| FieldError::new(header::CONTENT_TYPE, e)),
        None if payload.is_empty() => Ok(ContentType::Json),
        None => Ok(ContentType::guess(payload)),
    }
}

pub(crate) fn write<A: Serialize>(form: ContentType, answer: &A) -> Result<Bytes, String> {
    match form {
        ContentType::MessagePack => codec::encode(answer).map_err(|e| e.to_string()),
        ContentType::Json => serde_json::to_vec(answer).map(Bytes::from).map_err(|e| e.to_string()),
    }
}

fn unanswered(subject: &str, error: RequestError) -> Error {
    match error.kind() {
        RequestErrorKind::NoResponders => Error::NoResponder(subject.to_owned()),
        RequestErrorKind::TimedOut => Error::TimedOut(subject.to_owned()),
        _ => Error::nats(format!("asking {subject}"), error),
    }
}
