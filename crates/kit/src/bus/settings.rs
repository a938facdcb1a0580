//! How streams and buckets have to be, and what of that they are not. Pure: provisioning mends by it, and whoever examines a bus
//! tells it.

use std::fmt::Debug;

use async_nats::jetstream::{
    kv::Config as BucketConfig,
    stream::{self, Compression, DiscardPolicy, StorageType},
};
use bcs_schemas::stream::{StreamSpec, WhenFull};

use crate::kv;

/// A setting of a stream or a bucket that is another than it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Name of the setting: `max_age`.
    pub setting: &'static str,
    /// How it is.
    pub found: String,
    /// How it has to be.
    pub wanted: String,
    /// Whether the server can change it; else the messages have to move to a new stream.
    pub mendable: bool,
}

/// How a stream has to be.
pub(super) fn stream(spec: &StreamSpec, num_replicas: usize) -> stream::Config {
    let keeps_all = spec.when_full == WhenFull::RefuseNew;
    stream::Config {
        name: spec.name.clone(),
        subjects: spec.subjects.clone(),
        description: Some(spec.purpose.to_owned()),
        max_age: spec.max_age,
        max_bytes: spec.max_bytes,
        max_message_size: spec.max_message_size,
        discard: if keeps_all { DiscardPolicy::New } else { DiscardPolicy::Old },
        storage: StorageType::File,
        num_replicas,
        duplicate_window: spec.duplicate_window,
        deny_delete: keeps_all,
        deny_purge: keeps_all,
        allow_direct: true,
        // Not compressed, as the first design had it: of a server that was killed (2.15.1), a block that it was about to compress
        // could not be read any more ("s2: corrupt input"), and its copy of the stream neither served nor grew.
        compression: Some(Compression::None),
        ..Default::default()
    }
}

/// How a bucket has to be.
pub(super) fn bucket(name: &str, purpose: &str, num_replicas: usize) -> BucketConfig {
    BucketConfig {
        bucket: name.to_owned(),
        description: purpose.to_owned(),
        history: 1,
        storage: StorageType::File,
        num_replicas,
        // Lets a deletion mark have an end.
        limit_markers: Some(kv::MARK_KEPT),
        ..Default::default()
    }
}

/// What of a stream is not as wanted. What we leave to the server is not compared, and more copies than wanted are fine.
pub(super) fn of_stream(found: &stream::Config, wanted: &stream::Config) -> Vec<Deviation> {
    let mut compared = Compared::default();
    compared.fixed("storage", &found.storage, &wanted.storage);
    compared.fixed("retention", &found.retention, &wanted.retention);
    compared.same("subjects", &found.subjects, &wanted.subjects);
    compared.same("max_age", &found.max_age, &wanted.max_age);
    compared.same("max_bytes", &found.max_bytes, &wanted.max_bytes);
    compared.same("max_msg_size", &found.max_message_size, &wanted.max_message_size);
    compared.same("duplicate_window", &found.duplicate_window, &wanted.duplicate_window);
    compared.same("discard", &found.discard, &wanted.discard);
    compared.copies(found.num_replicas, wanted.num_replicas);
    compared.same("deny_delete", &found.deny_delete, &wanted.deny_delete);
    compared.same("deny_purge", &found.deny_purge, &wanted.deny_purge);
    compared.same("allow_direct", &found.allow_direct, &wanted.allow_direct);
    compared.same("description", &found.description, &wanted.description);
    let compressed = |c: &stream::Config| c.compression == Some(Compression::S2);
    compared.same("compression", &compressed(found), &compressed(wanted));
    compared.0
}

/// What of a bucket, which is a stream, is not as wanted. Another history or an age would lose keys.
pub(super) fn of_bucket(found: &stream::Config, wanted: &BucketConfig) -> Vec<Deviation> {
    let mut compared = Compared::default();
    compared.fixed("storage", &found.storage, &wanted.storage);
    compared.same("history", &found.max_messages_per_subject, &wanted.history);
    compared.same("max_age", &found.max_age, &wanted.max_age);
    compared.copies(found.num_replicas, wanted.num_replicas);
    compared.same("allow_msg_ttl", &found.allow_message_ttl, &wanted.limit_markers.is_some());
    compared.0
}

#[derive(Default)]
struct Compared(Vec<Deviation>);

impl Compared {
    fn same<T: PartialEq + Debug>(&mut self, setting: &'static str, found: &T, wanted: &T) {
        self.note(setting, found, wanted, true);
    }

    fn fixed<T: PartialEq + Debug>(&mut self, setting: &'static str, found: &T, wanted: &T) {
        self.note(setting, found, wanted, false);
    }

    fn copies(&mut self, found: usize, wanted: usize) {
        if found < wanted {
            self.same("num_replicas", &found, &wanted);
        }
    }

    fn note<T: PartialEq + Debug>(&mut self, setting: &'static str, found: &T, wanted: &T, mendable: bool) {
        if found != wanted {
            let (found, wanted) = (format!("{found:?}"), format!("{wanted:?}"));
            self.0.push(Deviation { setting, found, wanted, mendable });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_setting_that_is_another_is_named_with_both_values() {
        let spec = bcs_schemas::stream::quarantine();
        let wanted = stream(&spec, 1);
        assert_eq!(of_stream(&wanted, &wanted), []);
        assert_eq!(of_stream(&stream(&spec, 3), &wanted), [], "more copies are fine");
        let found = stream::Config { max_age: Duration::from_secs(60), ..wanted.clone() };
        let deviation = |setting, found: &str, wanted: &str, mendable| Deviation {
            setting,
            found: found.to_owned(),
            wanted: wanted.to_owned(),
            mendable,
        };
        assert_eq!(of_stream(&found, &wanted), [deviation("max_age", "60s", "2592000s", true)]);
        let found = stream::Config { storage: StorageType::Memory, ..wanted.clone() };
        assert_eq!(of_stream(&found, &wanted), [deviation("storage", "Memory", "File", false)]);
        assert_eq!(of_stream(&wanted, &stream(&spec, 3)), [deviation("num_replicas", "1", "3", true)]);
    }

    #[test]
    fn a_bucket_that_would_lose_keys_is_not_as_wanted() {
        let wanted = bucket("nodes", "nodes", 1);
        let found = stream::Config {
            num_replicas: 1,
            max_messages_per_subject: 1,
            allow_message_ttl: true,
            ..Default::default()
        };
        assert_eq!(of_bucket(&found, &wanted), []);
        let aging = stream::Config { max_age: Duration::from_secs(9), allow_message_ttl: false, ..found };
        let settings: Vec<_> = of_bucket(&aging, &wanted).into_iter().map(|d| d.setting).collect();
        assert_eq!(settings, ["max_age", "allow_msg_ttl"]);
    }
}
