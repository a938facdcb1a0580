//! Expressions in CEL, by the library that runs them. What Kubernetes adds to the language (quantities, addresses, `isSorted`, …) the
//! library does not have: an expression that needs it cannot be evaluated, and says so.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, Program, extensions, objects::Key};
use serde_json::Value;

static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    if let Err(error) = env.add_extension(extensions::strings) {
        tracing::warn!(%error, "expressions cannot work with strings");
    }
    Arc::new(env)
});

pub(crate) struct Expression(Program);

/// What an expression may speak of, by its names.
pub(crate) type Variables<'a> = [(&'a str, &'a Value)];

impl Expression {
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        LANGUAGE.compile(source).map(Self).map_err(|error| error.to_string())
    }

    pub(crate) fn speaks_of(&self, variable: &str) -> bool {
        self.0.references().has_variable(variable)
    }

    /// Whether it is true; or that it is neither true nor false, or what went wrong.
    pub(crate) fn holds(&self, variables: &Variables<'_>) -> Result<bool, Error> {
        match self.0.execute(&context(variables)) {
            Ok(cel::Value::Bool(is)) => Ok(is),
            Ok(_) => Err(Error::NoAnswer),
            Err(error) => Err(Error::Evaluation(error.to_string())),
        }
    }

    /// The text that it makes, unless it fails or makes something else.
    pub(crate) fn text(&self, variables: &Variables<'_>) -> Option<String> {
        match self.0.execute(&context(variables)) {
            Ok(cel::Value::String(words)) => Some(words.to_string()),
            _ => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("is neither true nor false")]
    NoAnswer,
    #[error("cannot be evaluated: {0}")]
    Evaluation(String),
}

fn context(variables: &Variables<'_>) -> Context<'static, 'static> {
    let mut context = Context::with_env(Arc::clone(&LANGUAGE));
    for (name, value) in variables {
        context.add_variable_from_value(*name, value_of(value));
    }
    context
}

/// Whole numbers are of one type, whatever their sign: rules compare them.
fn value_of(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(is) => cel::Value::Bool(*is),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => cel::Value::Int(whole),
            None => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => list.iter().map(value_of).collect::<Vec<_>>().into(),
        Value::Object(map) => {
            let entry =
                |(name, value): (&String, &Value)| (Key::String(Arc::new(name.clone())), value_of(value));
            map.iter().map(entry).collect::<HashMap<_, _>>().into()
        }
    }
}
