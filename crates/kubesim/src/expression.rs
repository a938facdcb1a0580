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
        Scope::new(variables).holds(self)
    }

    /// The text that it makes, unless it fails or makes something else.
    pub(crate) fn text(&self, variables: &Variables<'_>) -> Option<String> {
        Scope::new(variables).text(self)
    }
}

/// What many expressions may speak of, and what is made of it by expressions with a name.
pub(crate) struct Scope {
    context: Context<'static, 'static>,
    composed: HashMap<Key, cel::Value>,
}

impl Scope {
    pub(crate) fn new(variables: &Variables<'_>) -> Self {
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        for (name, value) in variables {
            context.add_variable_from_value(*name, value_of(value));
        }
        Self { context, composed: HashMap::new() }
    }

    /// From now on `variables.name` is what the expression says. Of one that fails nobody may speak.
    pub(crate) fn compose(&mut self, name: &str, expression: &Expression) {
        if let Ok(value) = expression.0.execute(&self.context) {
            self.composed.insert(Key::String(Arc::new(name.to_owned())), value);
            self.context.add_variable_from_value("variables", self.composed.clone());
        }
    }

    pub(crate) fn holds(&self, expression: &Expression) -> Result<bool, Error> {
        match expression.0.execute(&self.context) {
            Ok(cel::Value::Bool(is)) => Ok(is),
            Ok(_) => Err(Error::NoAnswer),
            Err(error) => Err(Error::Evaluation(error.to_string())),
        }
    }

    pub(crate) fn text(&self, expression: &Expression) -> Option<String> {
        match expression.0.execute(&self.context) {
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
