//! Streams saved to files and loaded from them, as nats-server writes them: messages with their positions and times, and consumers
//! with how far they had come. Observations are not saved: agents and sidecars say them again.

use std::{io, path::Path, time::Duration};

use async_nats::Subscriber;
use bcs_schemas::bucket;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
};

use super::{Bus, Error};

/// What cannot be said again by anybody: commands that wait, events with how far their readers had come, quarantine, and who this
/// installation is for its registries (a key of the bucket of leases).
pub fn irreplaceable() -> Vec<String> {
    let streams = bcs_schemas::stream::all().into_iter().map(|spec| spec.name);
    streams.chain([format!("KV_{}", bucket::LEASES.name)]).collect()
}

/// How much is sent at once.
const CHUNK: usize = 128 << 10;
/// A server that reads a large stream first takes a while.
const ANSWER: Duration = Duration::from_secs(60);

/// JetStream says so of a stream that does not exist.
const NOT_FOUND: u64 = 10_059;

impl Bus {
    /// Writes a stream to a file, while it is in use; its settings and state, or none when it does not exist.
    pub async fn save_stream(&self, stream: &str, to: &Path) -> Result<Option<Value>, Error> {
        let doing = || format!("saving stream {stream}");
        let inbox = self.client.new_inbox();
        let mut chunks = self.client.subscribe(inbox.clone()).await.map_err(|e| Error::nats(doing(), e))?;
        let question = json!({ "deliver_subject": inbox, "chunk_size": CHUNK });
        let about = self.jetstream_api(&format!("STREAM.SNAPSHOT.{stream}"), &question, &doing()).await?;
        match about["error"]["err_code"].as_u64() {
            None => (),
            Some(NOT_FOUND) => return Ok(None),
            Some(_) => return Err(said(doing(), &about["error"])),
        }
        let mut file = File::create(to).await.map_err(|e| Error::nats(doing(), e))?;
        self.take(&mut chunks, &mut file).await.map_err(|e| Error::nats(doing(), e))?;
        Ok(Some(json!({ "config": about["config"], "state": about["state"] })))
    }

    async fn take(&self, chunks: &mut Subscriber, file: &mut File) -> Result<(), async_nats::Error> {
        loop {
            let chunk = tokio::time::timeout(ANSWER, chunks.next()).await?;
            let chunk = chunk.ok_or("the connection ended")?;
            if chunk.payload.is_empty() {
                let status = chunk.status.map_or(204, |status| status.as_u16());
                if status != 204 {
                    return Err(format!("nats-server ended it with {status}").into());
                }
                break;
            }
            file.write_all(&chunk.payload).await?;
            // Only then the server sends more.
            if let Some(reply) = chunk.reply {
                self.client.publish(reply, Bytes::new()).await?;
            }
        }
        file.flush().await?;
        file.sync_all().await?;
        Ok(())
    }

    /// Makes a stream from what [`Bus::save_stream`] wrote and said of it. One that exists is left alone, and that is an error.
    pub async fn load_stream(&self, stream: &str, about: &Value, from: &Path) -> Result<(), Error> {
        let doing = || format!("loading stream {stream}");
        let mut file = File::open(from).await.map_err(|e| Error::nats(doing(), e))?;
        let answer = self.jetstream_api(&format!("STREAM.RESTORE.{stream}"), about, &doing()).await?;
        let Some(subject) = answer["deliver_subject"].as_str().filter(|subject| !subject.is_empty()) else {
            return Err(said(doing(), &answer["error"]));
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = fill(&mut file, &mut chunk).await.map_err(|e| Error::nats(doing(), e))?;
            let payload = Bytes::copy_from_slice(&chunk[..length]);
            let request = async_nats::Request::new().payload(payload).timeout(Some(ANSWER));
            let answer = self.client.send_request(subject.to_owned(), request).await;
            let answer = answer.map_err(|e| Error::nats(doing(), e))?;
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            if answer["error"].is_object() {
                return Err(said(doing(), &answer["error"]));
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    async fn jetstream_api(&self, operation: &str, question: &Value, doing: &str) -> Result<Value, Error> {
        let request = async_nats::Request::new().payload(question.to_string().into()).timeout(Some(ANSWER));
        let answer = self.client.send_request(format!("$JS.API.{operation}"), request).await;
        let answer = answer.map_err(|e| Error::nats(doing, e))?;
        serde_json::from_slice(&answer.payload).map_err(|e| Error::nats(doing, e))
    }
}

/// As much as fits; less only at the end.
async fn fill(file: &mut File, chunk: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match file.read(&mut chunk[length..]).await? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

fn said(doing: String, error: &Value) -> Error {
    Error::nats(doing, error["description"].as_str().unwrap_or("nats-server gives no reason").to_owned())
}
