//! Message types and sets of them: a service's commands are one set, its events another. The macro keeps the type
//! name, the subject tokens, the decoder and the JSON Schema of each message in one line.

use std::{fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    FieldError, Name, Service,
    codec::{self, ContentType},
};

/// `bcs.deploy.app.scale.v1`: service, kind of object, verb or fact, schema version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName {
    /// Who owns the message type.
    pub service: Service,
    /// Kind of the object it speaks of: `app`.
    pub kind: String,
    /// Verb of a command (`scale`) or fact of an event (`scaled`).
    pub verb: String,
    /// Schema version, from 1.
    pub version: u32,
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bcs.{}.{}.{}.v{}", self.service, self.kind, self.verb, self.version)
    }
}

impl FromStr for TypeName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no message type: expected bcs.<service>.<kind>.<verb>.v<version>");
        let parts: Vec<&str> = text.split('.').collect();
        let ["bcs", service, kind, verb, version] = parts[..] else { return Err(bad()) };
        let version = version.strip_prefix('v').and_then(|v| v.parse().ok()).ok_or_else(bad)?;
        let label = |token: &str| Name::new(token).map(String::from).map_err(|e| e.to_string());
        let name = Self { service: service.parse()?, kind: label(kind)?, verb: label(verb)?, version };
        // One type has one name: `v01` and `v+1` are numbers, and no versions.
        if name.to_string() == text { Ok(name) } else { Err(bad()) }
    }
}

/// What the catalogue knows of one message type.
#[derive(Clone, Copy)]
pub struct MessageType {
    /// Kind of the object it speaks of.
    pub kind: &'static str,
    /// Verb or fact: the last token of its subject.
    pub verb: &'static str,
    /// Schema version.
    pub version: u32,
    /// The JSON Schema of its payload.
    pub schema: fn() -> schemars::Schema,
}

/// The closed set of messages that one service understands (commands) or emits (events).
pub trait MessageSet: Sized + Send + Sync + Clone + fmt::Debug + Serialize + 'static {
    /// The owner.
    const SERVICE: Service;
    /// Whether unknown fields are refused: at the doors of commands, not among readers of events.
    const STRICT: bool;
    /// Every member.
    const TYPES: &'static [MessageType];
    /// Former versions of members: they are read, as what they mean today, and never written.
    const FORMER: &'static [MessageType] = &[];

    /// Which member this is.
    fn message_type(&self) -> &'static MessageType;

    /// The payload alone, as MessagePack.
    fn encode(&self) -> Result<bytes::Bytes, codec::EncodeError>;

    /// Reads the payload of the member `kind`, `verb`, `version`.
    fn decode(
        kind: &str,
        verb: &str,
        version: u32,
        form: ContentType,
        payload: &[u8],
    ) -> Result<Self, FieldError>;

    /// Whether a message of this type can be read, as it is or as a former version.
    fn reads(name: &TypeName) -> bool {
        let fits = |t: &MessageType| t.kind == name.kind && t.verb == name.verb && t.version == name.version;
        name.service == Self::SERVICE && Self::TYPES.iter().chain(Self::FORMER).any(fits)
    }

    /// The full type name of this message.
    fn type_name(&self) -> TypeName {
        let ty = self.message_type();
        TypeName {
            service: Self::SERVICE,
            kind: ty.kind.to_owned(),
            verb: ty.verb.to_owned(),
            version: ty.version,
        }
    }
}

/// Reads a payload after the macro has found its type.
pub(crate) fn decode_member<T: DeserializeOwned>(
    strict: bool,
    form: ContentType,
    payload: &[u8],
) -> Result<T, FieldError> {
    // A command without parameters may come with no payload at all: `nats pub … ''`.
    let payload = if payload.is_empty() { b"{}".as_slice() } else { payload };
    let form = if payload == b"{}" { ContentType::Json } else { form };
    if strict { codec::decode_strict(form, payload) } else { codec::decode_as(form, payload) }
}

/// Why no member fits, naming the ones that would.
pub(crate) fn no_such_member<M: MessageSet>(kind: &str, verb: &str, version: u32) -> FieldError {
    let types = M::TYPES;
    let known = |ty: &&MessageType| ty.kind == kind && ty.verb == verb;
    if types.iter().any(|ty| known(&ty)) {
        let versions = types.iter().chain(M::FORMER).filter(known);
        let versions: Vec<String> = versions.map(|ty| format!("v{}", ty.version)).collect();
        return FieldError::new(
            "ce-type",
            format!("version v{version} is unknown: expected {}", versions.join(" or ")),
        );
    }
    let all: Vec<String> = types.iter().map(|ty| format!("{}.{}", ty.kind, ty.verb)).collect();
    let expected = match all.as_slice() {
        [] => "this service takes no commands yet".to_owned(),
        all => format!("expected one of {}", all.join(", ")),
    };
    FieldError::new("subject", format!("{kind}.{verb} is unknown here: {expected}"))
}

/// Declares a [`MessageSet`]: an enum of payload structs with kind, verb and version each; `strict: true` for commands.
/// `Scaled => "app" "scaled" v 2 from v 1 (v1::Scaled)` reads version 1 as well, through `impl From<v1::Scaled> for Scaled`.
macro_rules! message_set {
    ($(#[$doc:meta])* $set:ident of $service:ident, strict: $strict:literal {
        $($member:ident => $kind:literal $verb:literal v $version:literal $(from v $former:literal ($old:ty))*),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        #[allow(missing_docs, reason = "each member is documented at its payload")]
        pub enum $set { $($member($member)),+ }

        impl $crate::MessageSet for $set {
            const SERVICE: $crate::Service = $crate::Service::$service;
            const STRICT: bool = $strict;
            const TYPES: &'static [$crate::MessageType] = &[$($crate::MessageType {
                kind: $kind, verb: $verb, version: $version, schema: || schemars::schema_for!($member),
            }),+];
            const FORMER: &'static [$crate::MessageType] = &[$($($crate::MessageType {
                kind: $kind, verb: $verb, version: $former, schema: || schemars::schema_for!($old),
            },)*)+];

            fn message_type(&self) -> &'static $crate::MessageType {
                let (kind, verb, version) = match self { $(Self::$member(_) => ($kind, $verb, $version)),+ };
                // The arms of this match and the lines of TYPES come from the same list.
                let mut types = Self::TYPES.iter();
                types.find(|t| t.kind == kind && t.verb == verb && t.version == version).unwrap_or(&Self::TYPES[0])
            }

            fn encode(&self) -> Result<bytes::Bytes, $crate::codec::EncodeError> {
                match self { $(Self::$member(payload) => $crate::codec::encode(payload)),+ }
            }

            fn decode(
                kind: &str, verb: &str, version: u32, form: $crate::codec::ContentType, payload: &[u8],
            ) -> Result<Self, $crate::FieldError> {
                match (kind, verb, version) {
                    $(($kind, $verb, $version) => $crate::message::decode_member(Self::STRICT, form, payload).map(Self::$member),
                    $(($kind, $verb, $former) => {
                        let old: $old = $crate::message::decode_member(Self::STRICT, form, payload)?;
                        Ok(Self::$member(old.into()))
                    })*)+
                    _ => Err($crate::message::no_such_member::<Self>(kind, verb, version)),
                }
            }
        }

        $(impl From<$member> for $set {
            fn from(payload: $member) -> Self { Self::$member(payload) }
        })+
    };
}
pub(crate) use message_set;

/// The set without members, for a service that has no commands or no events yet. `S` is the number of the service in
/// [`Service::ALL`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum NoMessage<const S: usize> {}

impl<const S: usize> MessageSet for NoMessage<S> {
    const SERVICE: Service = Service::ALL[S];
    const STRICT: bool = true;
    const TYPES: &'static [MessageType] = &[];

    fn message_type(&self) -> &'static MessageType {
        match *self {}
    }
    fn encode(&self) -> Result<bytes::Bytes, codec::EncodeError> {
        match *self {}
    }
    fn decode(kind: &str, verb: &str, version: u32, _: ContentType, _: &[u8]) -> Result<Self, FieldError> {
        Err(no_such_member::<Self>(kind, verb, version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::{DeployCommand, ScaleApp};

    #[test]
    fn a_type_name_reads_back() {
        let name = DeployCommand::from(ScaleApp { replicas: 3, ..Default::default() }).type_name();
        assert_eq!(name.to_string(), "bcs.deploy.app.scale.v1");
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in [
            "",
            "bcs.deploy.app.scale",
            "bcs.deploy.app.scale.1",
            "bcs.shop.app.scale.v1",
            "a.b.c.d.v1",
            "bcs.deploy.app.scale.v01",
            "bcs.deploy.app.scale.v+1",
            "bcs.deploy.a p.scale.v1",
            "bcs.deploy.app.sc\rle.v1",
            "bcs.deploy.*.>.v1",
            "bcs.deploy...v1",
        ] {
            assert!(text.parse::<TypeName>().is_err(), "{text}");
        }
    }

    /// A set of which one member has a history.
    #[allow(unreachable_pub, reason = "the macro makes public sets, and this one is only seen here")]
    mod pack {
        use super::*;

        /// Version 1 counted in dozens.
        #[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub struct PackedV1 {
            pub dozens: u64,
        }

        #[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub struct Packed {
            pub pieces: u64,
        }

        impl From<PackedV1> for Packed {
            fn from(old: PackedV1) -> Self {
                Self { pieces: old.dozens * 12 }
            }
        }

        message_set! {
            PackEvent of Network, strict: false {
                Packed => "pack" "packed" v 2 from v 1 (PackedV1),
            }
        }
    }

    #[test]
    fn a_former_version_is_read_as_what_it_means_today_and_never_written() {
        use pack::{PackEvent, Packed, PackedV1};
        let read = |version, payload: &[u8]| {
            PackEvent::decode("pack", "packed", version, ContentType::MessagePack, payload)
        };
        let old = codec::encode(&PackedV1 { dozens: 3 }).expect("is written");
        let event = read(1, &old).expect("version 1");
        assert_eq!(event, Packed { pieces: 36 }.into());
        assert_eq!(event.type_name().to_string(), "bcs.network.pack.packed.v2");
        assert_eq!(read(2, &event.encode().expect("is written")), Ok(event));
        assert!(read(2, &old).is_err(), "each version has its own form");
        let error = read(3, &old).expect_err("a version to come");
        assert_eq!(error.problem, "version v3 is unknown: expected v2 or v1");
        for (name, expected) in
            [("packed.v1", true), ("packed.v2", true), ("packed.v3", false), ("sent.v1", false)]
        {
            let name: TypeName = format!("bcs.network.pack.{name}").parse().expect("a type name");
            assert_eq!(PackEvent::reads(&name), expected, "{name}");
        }
        assert_eq!(PackEvent::FORMER.len(), 1, "its schema is still generated");
    }

    #[test]
    fn an_unknown_verb_or_version_is_answered_with_the_known_ones() {
        let decode = |verb, version| DeployCommand::decode("app", verb, version, ContentType::Json, b"{}");
        assert!(decode("explode", 1).expect_err("verb").problem.contains("app.scale"));
        let error = decode("scale", 9).expect_err("version");
        assert_eq!(
            (error.field.as_str(), error.problem.as_str()),
            ("ce-type", "version v9 is unknown: expected v1")
        );
    }
}
