//! The smallest service there can be: it takes any body and keeps it. Its event is as large as that of the floor.

use bcs_kit::machine::{Ctx, Fact, Request, StateMachine};
use bcs_schemas::{
    FieldError, MessageSet, MessageType, Service,
    codec::{self, ContentType},
    outcome::Rejection,
    subject::Target,
};
use serde::{Deserialize, Serialize};

use super::BODY;

/// Command and event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    body: String,
}

/// What the service is asked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Keep(pub(super) Body);

/// What it decides.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Kept(Body);

/// How much it has kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sink(u64);

impl Body {
    /// One that is exactly so long on the wire: a map of one pair, its key, and the header of a string.
    pub(super) fn sized() -> Self {
        Self { body: "x".repeat(BODY - 1 - 5 - 2) }
    }
}

macro_rules! alone {
    ($set:ident, $verb:literal, strict: $strict:literal) => {
        impl MessageSet for $set {
            // No other service runs beside this one; `network` has no commands of its own.
            const SERVICE: Service = Service::Network;
            const STRICT: bool = $strict;
            const TYPES: &'static [MessageType] =
                &[MessageType { kind: "body", verb: $verb, version: 1, schema: Default::default }];

            fn message_type(&self) -> &'static MessageType {
                &Self::TYPES[0]
            }

            fn encode(&self) -> Result<bytes::Bytes, codec::EncodeError> {
                codec::encode(&self.0)
            }

            fn decode(
                _: &str,
                _: &str,
                _: u32,
                form: ContentType,
                payload: &[u8],
            ) -> Result<Self, FieldError> {
                let read = if $strict { codec::decode_strict } else { codec::decode_as };
                read(form, payload).map(Self)
            }
        }
    };
}

alone!(Keep, "keep", strict: true);
alone!(Kept, "kept", strict: false);

impl bcs_client::Payload for Keep {
    type Set = Self;
    fn into_set(self) -> Self {
        self
    }
}

impl StateMachine for Sink {
    type Command = Keep;
    type Internal = std::convert::Infallible;
    type Event = Kept;
    const SNAPSHOT_VERSION: u32 = 1;

    fn decide(
        &self,
        target: &Target,
        request: &Request<Keep, std::convert::Infallible>,
        _: &Ctx,
    ) -> Result<Vec<(Target, Kept)>, Rejection> {
        match request {
            Request::Command(Keep(body)) => Ok(vec![(target.clone(), Kept(body.clone()))]),
            Request::Internal(never) => match *never {},
        }
    }

    fn evolve(&mut self, _: &Fact<'_, Kept>) {
        self.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_size_on_the_wire() {
        assert_eq!(Keep(Body::sized()).encode().expect("encodes").len(), BODY);
    }
}
