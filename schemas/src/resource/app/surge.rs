//! `Surge`: a number of instances, or a share of those that are wanted.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// So many instances, or a percentage of those that are wanted, rounded up: `5`, or `10%`. At least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surge {
    /// A number of instances.
    Instances(u32),
    /// A percentage of what is wanted.
    Percent(u32),
}

/// Twice as many as wanted is as much as a surge can mean.
const ALL: u32 = 100;
const EXPECTED: &str = "a number of instances from 1, or a percentage from 1% to 100%";

impl Surge {
    /// How many that are where so many are wanted.
    pub fn of(self, wanted: u32) -> u32 {
        match self {
            Self::Instances(number) => number.max(1),
            Self::Percent(percent) => {
                let share = (u64::from(wanted) * u64::from(percent)).div_ceil(u64::from(ALL));
                u32::try_from(share).unwrap_or(u32::MAX).max(1)
            }
        }
    }

    /// Whether it is what holds where nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn instances(number: u64) -> Result<Self, String> {
        match u32::try_from(number) {
            Ok(number) if number > 0 => Ok(Self::Instances(number)),
            _ => Err(format!("{number}: expected {EXPECTED}")),
        }
    }
}

impl Default for Surge {
    fn default() -> Self {
        Self::Instances(1)
    }
}

impl FromStr for Surge {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>());
        let wrong = || format!("{text:?}: expected {EXPECTED}");
        match text.strip_suffix('%').map(number) {
            Some(Some(Ok(percent))) if (1..=u64::from(ALL)).contains(&percent) => {
                Ok(Self::Percent(u32::try_from(percent).map_err(|_| wrong())?))
            }
            None => match number(text) {
                Some(Ok(number)) => Self::instances(number),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Surge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instances(number) => write!(f, "{number}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Surge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Instances(number) => serializer.serialize_u32(*number),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Surge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Surge;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Surge, E> {
                Surge::instances(value).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Surge, E> {
                let value = u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
                self.visit_u64(value)
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Surge, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for Surge {
    fn schema_name() -> Cow<'static, str> {
        "Surge".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "a number of instances, or a percentage of those that are wanted, rounded up: 5, or 10%",
            "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^[0-9]+%?$" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up_and_never_nothing() {
        for (text, wanted, expected) in [
            ("1", 500, 1),
            ("7", 3, 7),
            ("\"10%\"", 500, 50),
            ("\"10%\"", 11, 2),
            ("\"1%\"", 0, 1),
            ("\"25\"", 9, 25),
        ] {
            let surge: Surge = serde_json::from_str(text).expect("a surge");
            assert_eq!(surge.of(wanted), expected, "{text} of {wanted}");
            let written = serde_json::to_string(&surge).expect("is written");
            assert_eq!(serde_json::from_str::<Surge>(&written).expect("is read"), surge);
        }
        assert_eq!(Surge::Percent(100).of(u32::MAX), u32::MAX);
    }

    #[test]
    fn what_is_no_surge_is_refused_and_says_what_was_expected() {
        for text in [
            "0",
            "-1",
            "1.5",
            "\"0%\"",
            "\"101%\"",
            "\"%\"",
            "\"\"",
            "\"ten\"",
            "\"+5\"",
            "\"5 %\"",
            "4294967296",
            "null",
        ] {
            let refused = serde_json::from_str::<Surge>(text).expect_err(text).to_string();
            assert!(refused.contains("expected a number of instances"), "{text}: {refused}");
        }
    }
}
