//! Durations on the wire: integer milliseconds. People may also write `30s`, `5m` or `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};

/// A duration in whole milliseconds; written as an integer, read from an integer or from text such as `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// Longest duration anyone may ask for: a year. Beyond it, instants could overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `seconds` as milliseconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// The same duration for timers.
    pub const fn std(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The same duration for arithmetic with instants.
    pub fn signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_millis(i64::try_from(self.0).unwrap_or(i64::MAX))
    }

    fn checked(duration: Duration) -> Result<Self, String> {
        if duration > LONGEST {
            return Err("is longer than 366 days".to_owned());
        }
        u64::try_from(duration.as_millis()).map(Self).map_err(|e| e.to_string())
    }
}

impl FromStr for Millis {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let duration: jiff::SignedDuration = text
            .parse()
            .map_err(|_| format!("{text:?} is no duration: expected text such as 30s, 5m or 1h30m"))?;
        let duration = Duration::try_from(duration).map_err(|_| format!("{text:?} is negative"))?;
        Self::checked(duration)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.signed())
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Millis;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds as an integer, or text such as 30s, 5m or 1h30m")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Millis, E> {
                Millis::checked(Duration::from_millis(value)).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Millis, E> {
                let value = u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
                self.visit_u64(value)
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Millis, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for Millis {
    fn schema_name() -> Cow<'static, str> {
        "Millis".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "milliseconds, or text such as 30s, 5m or 1h30m",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_programs_write_durations_their_own_way() {
        for (text, expected) in
            [("1500", 1500), ("\"30s\"", 30_000), ("\"1h30m\"", 5_400_000), ("\"250ms\"", 250)]
        {
            assert_eq!(
                serde_json::from_str::<Millis>(text).map_err(|e| e.to_string()),
                Ok(Millis(expected)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["-1", "1.5", "\"soon\"", "\"-3s\"", "\"400000h\"", "18446744073709551615", "null", "[]"]
        {
            assert!(serde_json::from_str::<Millis>(text).is_err(), "{text}");
        }
    }
}
