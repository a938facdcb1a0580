//! Identities of commands and events. Both are UUIDs: v7 when fresh, v5 when derived from their cause, so that a
//! repeated cause gives the same identity.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Root of all derived ids. Never change it: a changed root makes repeats look new.
const DERIVED: Uuid = Uuid::from_u128(0x6f1c_1a52_7d5c_5e0b_9c61_2f0a_bc50_0001);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id that `cause` always gives for `purpose`.
            pub fn derived(cause: &str, purpose: &str) -> Self {
                Self(Uuid::new_v5(&DERIVED, format!("{cause}\n{purpose}").as_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

id! {
    /// Identity of a command. It has one outcome, whatever is redelivered, by whomever.
    CommandId
}
id! {
    /// Identity of an event; also its `Nats-Msg-Id`.
    EventId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_depends_on_cause_and_purpose_only() {
        assert_eq!(CommandId::derived("e1", "place"), CommandId::derived("e1", "place"));
        assert_ne!(CommandId::derived("e1", "place"), CommandId::derived("e1", "drain"));
        assert_ne!(CommandId::derived("e1", "place"), CommandId::derived("e2", "place"));
    }
}
