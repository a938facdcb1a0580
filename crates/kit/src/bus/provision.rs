//! Streams and buckets: created when missing, updated when compatible, refused with both settings when not, and never
//! deleted.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind, KeyValueErrorKind},
    kv::Config as BucketConfig,
    stream,
};
use bcs_schemas::{bucket, stream::StreamSpec};

use tokio::time::Instant;

use super::{Bus, Error, jetstream_code, settings};
use crate::telemetry::chain;

/// Pause between attempts.
const AGAIN: Duration = Duration::from_millis(500);

impl Bus {
    /// Every stream and bucket of the catalogue. Any number of processes may do this at once.
    pub async fn provision(&self) -> Result<(), Error> {
        for spec in bcs_schemas::stream::all() {
            self.stream(&spec).await?;
        }
        for (name, purpose) in bucket::ALL {
            self.bucket_of(name, purpose).await?;
        }
        Ok(())
    }

    /// The same on a bus that has just been started: the servers of a cluster find each other first.
    pub async fn provision_within(&self, within: Duration) -> Result<(), Error> {
        let end = Instant::now() + within;
        loop {
            match self.provision().await {
                Err(error) if !matches!(error, Error::Incompatible(_)) && Instant::now() < end => {
                    tracing::warn!(
                        error = chain(&error),
                        "streams and buckets are not all there, trying again"
                    );
                    tokio::time::sleep(AGAIN).await;
                }
                ended => return ended.map_err(|error| self.explained(error)),
            }
        }
    }

    async fn stream(&self, spec: &StreamSpec) -> Result<(), Error> {
        let wanted = settings::stream(spec, self.config.replicas);
        let doing = |what: &str| format!("{what} stream {}", spec.name);
        let found = match self.jetstream.get_stream(&spec.name).await {
            Ok(found) => found.cached_info().config.clone(),
            Err(e) if is_missing(&e.kind()) => {
                return match self.jetstream.create_stream(wanted.clone()).await {
                    Ok(_) => Ok(()),
                    // Another process was first; what it made is checked like anything else.
                    Err(e) => match self.jetstream.get_stream(&spec.name).await {
                        Ok(_) => Ok(()),
                        Err(_) if is_full(&e.kind()) => Err(Error::Incompatible(no_room(spec))),
                        Err(_) => Err(self.refused(doing("creating"), e)),
                    },
                };
            }
            Err(e) => return Err(Error::nats(doing("opening"), e)),
        };
        let deviations = settings::of_stream(&found, &wanted);
        if let Some(fixed) = deviations.iter().find(|deviation| !deviation.mendable) {
            return Err(Error::Incompatible(format!(
                "stream {} has {} {}, expected {}: move its messages to a new stream",
                spec.name, fixed.setting, fixed.found, fixed.wanted
            )));
        }
        // A process that was started with fewer replicas must not take copies away.
        let wanted = stream::Config { num_replicas: wanted.num_replicas.max(found.num_replicas), ..wanted };
        if !deviations.is_empty() {
            tracing::info!(stream = spec.name, ?deviations, "updating stream settings");
            self.jetstream.update_stream(wanted).await.map_err(|e| self.refused(doing("updating"), e))?;
        }
        Ok(())
    }

    async fn bucket_of(&self, name: &str, purpose: &str) -> Result<(), Error> {
        let wanted = settings::bucket(name, purpose, self.config.replicas);
        let found = match self.jetstream.get_key_value(name).await {
            Ok(found) => found.stream.cached_info().config.clone(),
            Err(e) if e.kind() == KeyValueErrorKind::GetBucket => {
                // Not with the call that updates as well: it asks for an update first, and what is asked about a bucket that
                // another process is just making is not always answered.
                return match self.jetstream.create_key_value(wanted).await {
                    Ok(_) => Ok(()),
                    Err(e) => match self.jetstream.get_key_value(name).await {
                        // Another process was first.
                        Ok(_) => Ok(()),
                        Err(_) => Err(self.refused(format!("creating bucket {name}"), e)),
                    },
                };
            }
            Err(e) => return Err(Error::nats(format!("opening bucket {name}"), e)),
        };
        if settings::of_bucket(&found, &wanted).is_empty() {
            return Ok(());
        }
        // Nor copies of a bucket.
        let settings = BucketConfig { num_replicas: wanted.num_replicas.max(found.num_replicas), ..wanted };
        let made = self.jetstream.create_or_update_key_value(settings).await;
        made.map(drop).map_err(|e| self.refused(format!("updating bucket {name}"), e))
    }

    /// What the bus says to settings of ours, in words that say what to do where we know.
    fn refused(&self, doing: String, source: impl Into<async_nats::Error>) -> Error {
        let source = source.into();
        match jetstream_code(&*source) {
            Some(ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED) => Error::Incompatible(format!(
                "{doing}: bus.replicas is {}, and the bus is a single server: set it to 1, or make the bus a cluster",
                self.config.replicas
            )),
            _ => Error::nats(doing, source),
        }
    }
}

fn is_full(kind: &CreateStreamErrorKind) -> bool {
    let full = async_nats::jetstream::ErrorCode::STORAGE_RESOURCES_EXCEEDED;
    matches!(kind, CreateStreamErrorKind::JetStream(e) if e.error_code() == full)
}

/// A server sets aside what the limits of its streams add up to.
fn no_room(spec: &StreamSpec) -> String {
    let all: i64 = bcs_schemas::stream::all().iter().map(|s| s.max_bytes).sum();
    format!(
        "the bus has no room for stream {} ({} MiB): set jetstream.max_file of nats-server to {} MiB or more",
        spec.name,
        spec.max_bytes >> 20,
        (all >> 20) + 1024
    )
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(e) if e.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND)
}
