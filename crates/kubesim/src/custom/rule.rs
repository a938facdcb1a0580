//! Validation rules in CEL (`x-kubernetes-validations`). A rule that cannot be evaluated refuses every object, and says so.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    expression::{self, Expression},
    object::{items, text},
    status::Cause,
};

/// The rules of each place of a schema, by its address there (a JSON pointer).
pub(crate) type Rules = BTreeMap<String, Vec<Rule>>;

pub(crate) struct Rule {
    expression: Expression,
    source: String,
    message: String,
    /// In CEL, and makes the message when it can.
    message_expression: Option<Expression>,
    reason: &'static str,
    field_path: String,
    /// Compares with what was there before; not asked when nothing was.
    compares: bool,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

/// The rules of a schema, or what is wrong with one of them.
pub(super) fn compile(schema: &Value) -> Result<Rules, Cause> {
    let mut rules = Rules::new();
    walk(schema, "", &mut rules)?;
    Ok(rules)
}

fn walk(schema: &Value, place: &str, rules: &mut Rules) -> Result<(), Cause> {
    let written = items(schema, "/x-kubernetes-validations").iter().enumerate();
    let compiled: Vec<Rule> = written.map(|(at, rule)| one(rule, place, at)).collect::<Result<_, _>>()?;
    if !compiled.is_empty() {
        rules.insert(place.to_owned(), compiled);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{place}/properties/{}", escaped(name)), rules)?;
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{place}/{inner}"), rules)?;
        }
    }
    Ok(())
}

/// As JSON pointers write it (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn one(rule: &Value, place: &str, at: usize) -> Result<Rule, Cause> {
    let source = text(rule, "/rule");
    let field = || format!("openAPIV3Schema{}.x-kubernetes-validations[{at}]", place.replace('/', "."));
    let compile = |source: &str, of: &str| {
        Expression::compile(source).map_err(|error| Cause {
            reason: "FieldValueInvalid",
            field: format!("{}.{of}", field()),
            message: format!("Invalid value: {source:?}: compilation failed: {error}"),
        })
    };
    let message = text(rule, "/message");
    let message_expression = text(rule, "/messageExpression");
    let expression = compile(source, "rule")?;
    Ok(Rule {
        compares: expression.speaks_of("oldSelf"),
        expression,
        message: if message.is_empty() { format!("failed rule: {source}") } else { message.to_owned() },
        message_expression: if message_expression.is_empty() {
            None
        } else {
            Some(compile(message_expression, "messageExpression")?)
        },
        reason: match text(rule, "/reason") {
            "FieldValueForbidden" => "FieldValueForbidden",
            "FieldValueRequired" => "FieldValueRequired",
            "FieldValueDuplicate" => "FieldValueDuplicate",
            _ => "FieldValueInvalid",
        },
        field_path: text(rule, "/fieldPath").to_owned(),
        source: source.to_owned(),
    })
}

/// What the rules of one place have against a value, which lies at `field`. `old` is what was there before.
pub(super) fn ask(rules: &[Rule], value: &Value, old: Option<&Value>, field: &str, causes: &mut Vec<Cause>) {
    for rule in rules {
        if rule.compares && old.is_none() {
            continue;
        }
        let variables: Vec<(&str, &Value)> =
            [Some(("self", value)), old.map(|old| ("oldSelf", old))].into_iter().flatten().collect();
        let why = match rule.expression.holds(&variables) {
            Ok(true) => continue,
            Ok(false) => rule.words(&variables),
            Err(error) => format!("rule {:?} {error}", rule.source),
        };
        causes.push(Cause {
            reason: rule.reason,
            field: format!("{field}{}", rule.field_path),
            message: format!("{}: {why}", kind_of(rule.reason, value)),
        });
    }
}

impl Rule {
    fn words(&self, variables: &expression::Variables<'_>) -> String {
        let made = self.message_expression.as_ref().and_then(|expression| expression.text(variables));
        made.filter(|words| !words.trim().is_empty()).unwrap_or_else(|| self.message.clone())
    }
}

fn kind_of(reason: &str, value: &Value) -> String {
    match reason {
        "FieldValueForbidden" => "Forbidden".to_owned(),
        "FieldValueRequired" => "Required value".to_owned(),
        "FieldValueDuplicate" => format!("Duplicate value: {}", shown(value)),
        _ => format!("Invalid value: {}", shown(value)),
    }
}

/// A value in an error: what is large only by its type.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "\"object\"".to_owned(),
        Value::Array(_) => "\"array\"".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(rule: Value, value: Value, old: Option<Value>) -> Vec<String> {
        let schema = json!({"x-kubernetes-validations": [rule]});
        let rules = compile(&schema).expect("compiles");
        let mut causes = Vec::new();
        ask(&rules[""], &value, old.as_ref(), "spec", &mut causes);
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn a_rule_holds_or_says_why_not() {
        let bounds = json!({"rule": "self.min <= self.size && self.size <= self.max", "message": "size is out of bounds"});
        assert!(said(bounds.clone(), json!({"min": 1, "size": 3, "max": 3}), None).is_empty());
        let refused = said(bounds, json!({"min": 1, "size": 4, "max": 3}), None);
        assert_eq!(refused, ["spec: Invalid value: \"object\": size is out of bounds"]);
        let names = json!({"rule": "self.all(x, x.startsWith('a'))"});
        assert_eq!(said(names.clone(), json!(["a1", "a2"]), None), [""; 0]);
        assert!(said(names, json!(["b"]), None)[0].contains("failed rule: self.all"));
        let told = json!({"rule": "self > 0", "messageExpression": "'it is ' + string(self)"});
        assert_eq!(said(told, json!(-1), None), ["spec: Invalid value: -1: it is -1"]);
        let has = json!({"rule": "has(self.a) || has(self.b)"});
        assert!(said(has.clone(), json!({"a": 1}), None).is_empty());
        assert_eq!(said(has, json!({}), None).len(), 1);
    }

    #[test]
    fn a_rule_about_a_change_is_asked_only_when_something_changes() {
        let fixed =
            json!({"rule": "self == oldSelf", "message": "is immutable", "reason": "FieldValueForbidden"});
        assert!(said(fixed.clone(), json!("a"), None).is_empty());
        assert!(said(fixed.clone(), json!("a"), Some(json!("a"))).is_empty());
        assert_eq!(said(fixed, json!("b"), Some(json!("a"))), ["spec: Forbidden: is immutable"]);
    }

    #[test]
    fn a_rule_that_cannot_be_understood_never_lets_anything_through() {
        let schema = json!({"properties": {"spec": {"x-kubernetes-validations": [{"rule": "self.a >"}]}}});
        let wrong = compile(&schema).expect_err("does not compile");
        assert_eq!(wrong.field, "openAPIV3Schema.properties.spec.x-kubernetes-validations[0].rule");
        assert!(
            said(json!({"rule": "quantity(self).isGreaterThan(quantity('1'))"}), json!("2"), None)[0]
                .contains("cannot be evaluated")
        );
        assert!(said(json!({"rule": "self"}), json!("x"), None)[0].contains("neither true nor false"));
    }
}
