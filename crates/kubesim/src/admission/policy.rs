//! Admission policies in CEL: whom one concerns is said by it and by what binds it, and what follows from a failure by the binding.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    hook,
    review::{self, Attributes},
};
use crate::{
    expression::{Error, Expression, Scope},
    kind::{self, Kind},
    object::{self, Key, items, text},
    selector::Labels,
    status::{Cause, Status},
    store::Store,
};

/// A request with all that policies may ask about it.
pub(super) struct Request<'a> {
    pub what: &'a Attributes<'a>,
    /// In which the kind is served.
    pub versions: &'a [&'a Kind],
    pub namespace: Option<&'a Value>,
    pub object: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

/// Why a policy is against a request.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    message: String,
    reason: String,
}

/// The first refusal, if a policy that is bound to deny has one.
pub(super) fn check(store: &Store, request: &Request<'_>, warnings: &mut Vec<String>) -> Result<(), Status> {
    for binding in &store.list(&kind::POLICY_BINDINGS, "").objects {
        let named = Key::new("", text(binding, "/spec/policyName"));
        let Some(policy) = store.get(&kind::POLICIES, &named) else { continue };
        let Some(failure) = judge(store, &policy, binding, request) else { continue };
        let (policy, binding_name) = (object::name(&policy), object::name(binding));
        let who = format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding_name}'");
        let actions = items(binding, "/spec/validationActions");
        if actions.iter().any(|action| action == "Warn") {
            warnings.push(format!("Validation failed for {who}: {}", failure.message));
        }
        if actions.iter().any(|action| action == "Deny") {
            let why = format!("{who} denied request: {}", failure.message);
            return Err(refusal(request, &why, failure));
        }
    }
    Ok(())
}

fn refusal(request: &Request<'_>, why: &str, failure: Failure) -> Status {
    let name = request.object.map_or("", object::name);
    let name = if request.what.name.is_empty() { name } else { request.what.name };
    let mut status = Status::forbidden(request.what.kind, name, why);
    status.code = match failure.reason.as_str() {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = failure.reason.into();
    if let Some(details) = &mut status.details {
        details["causes"] = json!([{ "message": why }]);
    }
    status
}

/// What a policy has against a request, for the first parameters that it fails with.
fn judge(store: &Store, policy: &Value, binding: &Value, request: &Request<'_>) -> Option<Failure> {
    let version = meant(&policy["spec"]["matchConstraints"], request)?;
    let narrowed = &binding["spec"]["matchResources"];
    if narrowed.is_object() && !items(narrowed, "/resourceRules").is_empty() {
        meant(narrowed, request)?;
    } else if narrowed.is_object() && !selected(narrowed, request) {
        return None;
    }
    let tolerant = text(policy, "/spec/failurePolicy") == "Ignore";
    let found = match parameters(store, policy, binding, request) {
        Ok(found) => found,
        Err(why) => return (!tolerant).then(|| invalid(why)),
    };
    found.iter().find_map(|parameters| match verdict(policy, &version, parameters, request) {
        Ok(failure) => failure,
        Err(why) => (!tolerant).then(|| invalid(why)),
    })
}

fn invalid(message: String) -> Failure {
    Failure { message, reason: "Invalid".to_owned() }
}

/// The version in which such a policy sees the request, if it is about it.
fn meant(resources: &Value, request: &Request<'_>) -> Option<String> {
    let meant = |rules| hook::meant(resources, rules, request.what, request.versions);
    let version = meant("/resourceRules")?.api_version();
    (meant("/excludeResourceRules").is_none() && selected(resources, request)).then_some(version)
}

fn selected(resources: &Value, request: &Request<'_>) -> bool {
    hook::selects(resources, request.what, request.namespace, request.object, request.old)
}

/// What the policy is told by its binding, each by itself; nothing when it asks for nothing.
fn parameters(
    store: &Store,
    policy: &Value,
    binding: &Value,
    request: &Request<'_>,
) -> Result<Vec<Arc<Value>>, String> {
    let (of, reference) = (&policy["spec"]["paramKind"], &binding["spec"]["paramRef"]);
    if !of.is_object() || !reference.is_object() {
        return Ok(vec![Arc::default()]);
    }
    let (version, name) = (text(of, "/apiVersion"), text(of, "/kind"));
    let kind = store.kinds().by_type(version, name);
    let kind = kind.ok_or_else(|| {
        format!("failed to find resource referenced by paramKind: '{version}, Kind={name}'")
    })?;
    let kind = store.kinds().by_id(kind.id).unwrap_or(kind);
    let namespace = match text(reference, "/namespace") {
        _ if !kind.namespaced => "",
        "" => request.what.namespace,
        named => named,
    };
    let found = match text(reference, "/name") {
        "" => {
            let selector = Labels::from_object(&reference["selector"]);
            let mut all = store.list(kind, namespace).objects;
            all.retain(|one| selector.matches(object::labels(one)));
            all
        }
        name => store.get(kind, &Key::new(namespace, name)).into_iter().collect(),
    };
    if found.is_empty() && text(reference, "/parameterNotFoundAction") != "Allow" {
        return Err("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found)
}

/// What one policy says with these parameters; an error when it cannot say anything.
fn verdict(
    policy: &Value,
    version: &str,
    parameters: &Value,
    request: &Request<'_>,
) -> Result<Option<Failure>, String> {
    let asked = review::request(request.what, version, request.object, request.old);
    let mut scope = Scope::new(&[
        ("object", &asked["object"]),
        ("oldObject", &asked["oldObject"]),
        ("request", &asked),
        ("params", parameters),
        ("namespaceObject", request.namespace.unwrap_or(&Value::Null)),
    ]);
    for condition in items(policy, "/spec/matchConditions") {
        if !holds(&scope, text(condition, "/expression"))? {
            return Ok(None);
        }
    }
    for variable in items(policy, "/spec/variables") {
        if let Ok(expression) = Expression::compile(text(variable, "/expression")) {
            scope.compose(text(variable, "/name"), &expression);
        }
    }
    for validation in items(policy, "/spec/validations") {
        if !holds(&scope, text(validation, "/expression"))? {
            return Ok(Some(failure(&scope, validation)));
        }
    }
    Ok(None)
}

fn holds(scope: &Scope, source: &str) -> Result<bool, String> {
    let wrong = |why: String| format!("expression '{source}' resulted in error: {why}");
    let expression =
        Expression::compile(source).map_err(|why| wrong(format!("compilation failed: {why}")))?;
    scope.holds(&expression).map_err(|error| match error {
        Error::NoAnswer => wrong("it is neither true nor false".to_owned()),
        Error::Evaluation(why) => wrong(why),
    })
}

fn failure(scope: &Scope, validation: &Value) -> Failure {
    let made = Expression::compile(text(validation, "/messageExpression")).ok();
    let made = made.and_then(|expression| scope.text(&expression));
    let made = made.filter(|words| !words.trim().is_empty() && !words.contains('\n'));
    let message = made.unwrap_or_else(|| match text(validation, "/message") {
        "" => format!("failed expression: {}", text(validation, "/expression")),
        told => told.to_owned(),
    });
    let reason = match text(validation, "/reason") {
        "" => "Invalid",
        told => told,
    };
    Failure { message, reason: reason.to_owned() }
}

/// What is wrong with a policy.
pub(crate) fn check_policy(policy: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if items(policy, "/spec/matchConstraints/resourceRules").is_empty() {
        causes.push(Cause::required("spec.matchConstraints.resourceRules", ""));
    }
    if items(policy, "/spec/validations").is_empty() && items(policy, "/spec/auditAnnotations").is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        causes.push(Cause::required("spec.validations", why));
    }
    for (list, field) in [
        ("matchConditions", "expression"),
        ("variables", "expression"),
        ("validations", "expression"),
        ("validations", "messageExpression"),
        ("auditAnnotations", "valueExpression"),
    ] {
        for (at, one) in items(policy, &format!("/spec/{list}")).iter().enumerate() {
            let source = text(one, &format!("/{field}"));
            let optional = field == "messageExpression" && source.is_empty();
            if let Err(why) =
                Expression::compile(source).map(drop).or_else(|why| if optional { Ok(()) } else { Err(why) })
            {
                let field = format!("spec.{list}[{at}].{field}");
                causes.push(Cause::invalid(&field, source, &format!("compilation failed: {why}")));
            }
        }
    }
    causes
}

/// What is wrong with a binding.
pub(crate) fn check_binding(binding: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(binding, "/spec/policyName").is_empty() {
        causes.push(Cause::required("spec.policyName", ""));
    }
    let actions = items(binding, "/spec/validationActions");
    let has = |name: &str| actions.iter().any(|action| action == name);
    if actions.is_empty() {
        causes.push(Cause::required("spec.validationActions", "at least one validation action is required"));
    } else if has("Deny") && has("Warn") {
        let found = Value::from(actions).to_string();
        let why = "must not contain both Deny and Warn";
        causes.push(Cause::invalid("spec.validationActions", &found, why));
    }
    for action in actions.iter().filter_map(Value::as_str) {
        if !matches!(action, "Audit" | "Deny" | "Warn") {
            causes.push(Cause::unsupported("spec.validationActions", action, &["Audit", "Deny", "Warn"]));
        }
    }
    let reference = &binding["spec"]["paramRef"];
    if reference.is_object() && text(reference, "/name").is_empty() == reference["selector"].is_null() {
        let why = "one of name or selector must be specified";
        causes.push(Cause::required("spec.paramRef.name", why));
    }
    causes
}

#[cfg(test)]
mod tests;
