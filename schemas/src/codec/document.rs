//! A payload before its type is looked at. Unlike [`serde_json::Value`], which keeps the last one, it tells of a field that
//! is there twice.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// What a payload holds.
pub(super) struct Document {
    pub(super) value: Value,
    /// Path of a field that is there twice.
    pub(super) twice: Option<String>,
}

impl<T: Into<Value>> From<T> for Document {
    fn from(value: T) -> Self {
        Self { value: value.into(), twice: None }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what JSON can say")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Document, E> {
        // JSON has no word for these, and `null` would say that nothing was given.
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom(format_args!("{value} is no number")))?;
        Ok(Value::Number(number).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Document, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Document, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        Document::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let (mut values, mut twice) = (Vec::new(), None);
        while let Some(item) = items.next_element::<Document>()? {
            twice = twice.or_else(|| item.twice.map(|path| below(&format!("[{}]", values.len()), &path)));
            values.push(item.value);
        }
        Ok(Document { value: Value::Array(values), twice })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Document, A::Error> {
        let (mut values, mut twice) = (Map::new(), None);
        while let Some((name, field)) = fields.next_entry::<String, Document>()? {
            if values.contains_key(&name) {
                twice.get_or_insert_with(|| name.clone());
            }
            twice = twice.or_else(|| field.twice.map(|path| below(&name, &path)));
            values.insert(name, field.value);
        }
        Ok(Document { value: Value::Object(values), twice })
    }
}

/// The path of what lies at `path` in `parent`.
fn below(parent: &str, path: &str) -> String {
    if path.starts_with('[') { format!("{parent}{path}") } else { format!("{parent}.{path}") }
}
