//! What stands between a request and the store: webhooks that change objects or refuse them. Everything that is created passes here,
//! whether a client or a controller makes it.

mod builtin;
mod caller;
mod configuration;
mod hook;
mod limit_range;
mod policy;
mod quota;
mod review;

use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use self::{
    builtin::objects as bootstrap_objects,
    configuration::check,
    policy::{check_binding, check_policy},
    review::{Attributes, Operation},
};
use self::{
    caller::Line,
    hook::Hook,
    review::{Answer, Question},
};
use crate::{
    access, clock,
    kind::{self, Kind},
    object::{self, Key},
    status::Status,
    store::Store,
    validate,
};

/// The gate of one cluster.
pub(crate) struct Gate {
    store: Arc<Store>,
    turn: quota::Turn,
}

impl Gate {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, turn: quota::Turn::default() }
    }

    /// Brings a new object into the store, or only tries to when the request is a dry run. What the caller set is typed already.
    pub(crate) async fn create(
        &self,
        what: &Attributes<'_>,
        mut value: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Arc<Value>, Status> {
        validate::apply_defaults(what.kind, &mut value);
        builtin::adapt(&self.store, what.kind, &mut value)?;
        builtin::who_asks(what, &mut value);
        fresh_status(what.kind, &mut value);
        if let Some(changed) = self.mutate(what, &value, None, warnings).await? {
            value = validate::typing(what.kind, changed)?.0;
            validate::apply_defaults(what.kind, &mut value);
            builtin::adapt(&self.store, what.kind, &mut value)?;
            builtin::who_asks(what, &mut value);
            fresh_status(what.kind, &mut value);
        }
        name_it(&mut value);
        validate::check_new(what.kind, &value)?;
        access::check_escalation(&self.store, what.who, what.kind, &value)?;
        builtin::check(&self.store, what.kind, &value)?;
        self.validate(what, Some(&value), None, warnings).await?;
        if what.dry {
            quota::bill(&self.store, what.kind, &value)?;
            return Ok(Arc::new(value));
        }
        self.store_new(what.kind, value)
    }

    /// Into the store, in the version in which objects of the kind are kept.
    fn store_new(&self, kind: &'static Kind, mut value: Value) -> Result<Arc<Value>, Status> {
        if kind.custom().is_some() {
            let definition = self.store.get(&kind::CUSTOM_RESOURCE_DEFINITIONS, &Key::new("", kind.id));
            if definition.is_none_or(|definition| object::deleting(&definition)) {
                let why = "create not allowed while custom resource definition is terminating";
                return Err(Status::new(405, "MethodNotAllowed", why));
            }
        }
        self.as_stored(kind, &mut value);
        let _turn = self.turn.take();
        quota::charge(&self.store, kind, &value)?;
        let namespace = object::namespace(&value).to_owned();
        self.store.create(kind, value).or_else(|status| {
            // It was charged for nothing.
            quota::count_all(&self.store, &namespace)?;
            Err(status)
        })
    }

    /// Counts anew what a quota is about.
    pub(crate) fn count(&self, key: &Key) -> Result<(), Status> {
        let _turn = self.turn.take();
        quota::count(&self.store, key)
    }

    pub(crate) fn as_stored(&self, kind: &Kind, value: &mut Value) {
        if let Some(stored) = self.store.kinds().by_id(kind.id).filter(|_| !kind.is_stored()) {
            value["apiVersion"] = json!(stored.api_version());
        }
    }

    /// The object as the mutating webhooks leave it, if one changed it. One that wants to be asked again is, when another changed
    /// something after it.
    pub(crate) async fn mutate(
        &self,
        what: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, Status> {
        let hooks = self.hooks(&kind::MUTATING_WEBHOOKS, what);
        if hooks.is_empty() {
            return Ok(None);
        }
        let mut now = object.clone();
        // When each hook was asked last, in changes of the object.
        let (mut changes, mut asked) = (0_usize, vec![None; hooks.len()]);
        for again in [false, true] {
            for (hook, asked) in hooks.iter().zip(&mut asked) {
                let due = if again { hook.reinvoked() && asked.is_some_and(|at| at < changes) } else { true };
                if !due {
                    continue;
                }
                let Some(answer) = self.ask(hook, what, Some(&now), old).await? else { continue };
                *asked = Some(changes);
                warnings.extend(answer.warnings.iter().cloned());
                let changed = answer.outcome(hook.name(), &now)?;
                if changed != now {
                    now = changed;
                    changes += 1;
                    *asked = Some(changes);
                }
            }
        }
        Ok((changes > 0).then_some(now))
    }

    /// Whether the validating webhooks let it pass. They are asked all at once.
    pub(crate) async fn validate(
        &self,
        what: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        self.policies(what, object, old, warnings)?;
        let hooks = self.hooks(&kind::VALIDATING_WEBHOOKS, what);
        let answers =
            futures::future::join_all(hooks.iter().map(|hook| self.ask(hook, what, object, old))).await;
        for (hook, answer) in hooks.iter().zip(answers) {
            let Some(answer) = answer? else { continue };
            warnings.extend(answer.warnings.iter().cloned());
            answer.verdict(hook.name())?;
        }
        Ok(())
    }

    fn policies(
        &self,
        what: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        if what.kind.group == kind::POLICIES.group || self.store.count(&kind::POLICY_BINDINGS) == 0 {
            return Ok(());
        }
        let (versions, place) = (self.versions(what), self.place(what));
        let request = policy::Request { what, versions: &versions, namespace: place.as_deref(), object, old };
        policy::check(&self.store, &request, warnings)
    }

    /// In which the kind of a request is served.
    fn versions(&self, what: &Attributes<'_>) -> Vec<&'static Kind> {
        self.store.kinds().all().into_iter().filter(|k| k.id == what.kind.id).collect()
    }

    /// The namespace that a request is about.
    fn place(&self, what: &Attributes<'_>) -> Option<Arc<Value>> {
        let namespaced = !what.namespace.is_empty() && what.kind.namespaced;
        namespaced.then(|| self.store.get(&kind::NAMESPACES, &Key::new("", what.namespace))).flatten()
    }

    /// Both, for what is not stored itself: a deletion, a binding, an eviction, a scale.
    pub(crate) async fn admit(
        &self,
        what: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, Status> {
        let changed = match object {
            Some(object) => self.mutate(what, object, old, warnings).await?,
            None => {
                for hook in self.hooks(&kind::MUTATING_WEBHOOKS, what) {
                    if let Some(answer) = self.ask(&hook, what, None, old).await? {
                        warnings.extend(answer.warnings.iter().cloned());
                        answer.verdict(hook.name())?;
                    }
                }
                None
            }
        };
        self.validate(what, changed.as_ref().or(object), old, warnings).await?;
        Ok(changed)
    }

    /// The webhooks whose rules mean such a request, in the order of their configurations.
    fn hooks(&self, kind: &'static Kind, what: &Attributes<'_>) -> Vec<Hook> {
        // Nobody changes the way out of a webhook that refuses everything.
        if what.kind.group == kind::MUTATING_WEBHOOKS.group || self.store.count(kind) == 0 {
            return Vec::new();
        }
        let versions = self.versions(what);
        let configurations = self.store.list(kind, "").objects;
        configurations
            .iter()
            .flat_map(|configuration| object::items(configuration, "/webhooks"))
            .filter_map(|spec| Hook::of(spec, what, &versions, *kind == kind::MUTATING_WEBHOOKS))
            .collect()
    }

    /// The answer of one webhook, or `None` if it is not concerned, or is away and may be.
    async fn ask(
        &self,
        hook: &Hook,
        what: &Attributes<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Option<Answer>, Status> {
        let place = self.place(what);
        if !hook.selects(what, place.as_deref(), object, old) {
            return Ok(None);
        }
        let question = Question::new(hook, what, object, old);
        let answer = match hook.wants(&question) {
            Ok(false) => return Ok(None),
            Ok(true) => self.call(hook, &question).await,
            Err(why) => Err(why),
        };
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(why) if hook.may_be_away() => {
                tracing::debug!(webhook = hook.name(), %why, "a webhook failed that may");
                Ok(None)
            }
            Err(why) => Err(Status::internal(format!(
                "Internal error occurred: failed calling webhook {:?}: {why}",
                hook.name()
            ))),
        }
    }

    async fn call(&self, hook: &Hook, question: &Question) -> Result<Answer, String> {
        let line = self.line(hook)?;
        let answer = line.call(&question.document, hook.patience()).await;
        let answer = answer.map_err(|why| format!("failed to call webhook: {why}"))?;
        Answer::read(&answer, question, hook.mutating())
    }

    /// Where a webhook listens: at its address, or at a ready pod of its service.
    fn line(&self, hook: &Hook) -> Result<Line, String> {
        let config = hook.client();
        let authority = object::text(config, "/caBundle").to_owned();
        let service = &config["service"];
        if !service.is_object() {
            return Ok(Line { url: object::text(config, "/url").to_owned(), address: None, authority });
        }
        let (namespace, name) = (object::text(service, "/namespace"), object::text(service, "/name"));
        let port = object::int(service, "/port").unwrap_or(443);
        let host = format!("{name}.{namespace}.svc");
        let path = object::text(service, "/path");
        let address = self.endpoint(namespace, name, port)?;
        let url = format!("https://{host}:{port}/{}", path.trim_start_matches('/'));
        Ok(Line { url, address: Some(address), authority })
    }

    fn endpoint(&self, namespace: &str, name: &str, port: i64) -> Result<std::net::SocketAddr, String> {
        let service = self.store.get(&kind::SERVICES, &Key::new(namespace, name));
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
        let known =
            object::items(&service, "/spec/ports").iter().find(|p| object::int(p, "/port") == Some(port));
        let known = known.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let slices = self.store.list(&kind::ENDPOINT_SLICES, namespace).objects;
        slices
            .iter()
            .filter(|slice| object::label(slice, "kubernetes.io/service-name") == Some(name))
            .find_map(|slice| {
                let ready =
                    object::items(slice, "/endpoints").iter().find(|e| e["conditions"]["ready"] == true)?;
                let port = object::items(slice, "/ports")
                    .iter()
                    .find(|p| object::text(p, "/name") == object::text(known, "/name"))?;
                let port = u16::try_from(object::int(port, "/port")?).ok()?;
                Some((object::text(ready, "/addresses/0").parse::<std::net::IpAddr>().ok()?, port).into())
            })
            .ok_or_else(|| format!("no endpoints available for service {name:?}"))
    }
}

/// Whether a quota says anything about objects of a kind.
pub(crate) fn quota_concerns(quota: &Value, kind: &Kind) -> bool {
    quota::concerns(quota, kind)
}

/// The rest of a name that the client left to the server.
fn name_it(value: &mut Value) {
    let base = object::text(value, "/metadata/generateName").to_owned();
    if object::name(value).is_empty() && !base.is_empty() {
        let base: String = base.chars().take(58).collect();
        object::set(value, &["metadata", "name"], json!(format!("{base}{}", clock::suffix())));
    }
}

/// Clients do not set the status of new objects.
fn fresh_status(kind: &Kind, value: &mut Value) {
    if !kind.status {
        return;
    }
    if kind.custom().is_some() {
        return object::unset(value, &["status"]);
    }
    let status = match kind.id {
        "pods" if !object::items(value, "/spec/schedulingGates").is_empty() => json!({
            "phase": "Pending", "qosClass": qos(&value["spec"]),
            "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }],
        }),
        "pods" => json!({"phase": "Pending", "qosClass": qos(&value["spec"])}),
        "namespaces" => json!({"phase": "Active"}),
        "services" => json!({"loadBalancer": {}}),
        "persistentvolumeclaims" => json!({"phase": "Pending"}),
        "volumeattachments.storage.k8s.io" => json!({"attached": false}),
        // Nodes register themselves with what they are.
        "nodes" => return,
        _ => json!({}),
    };
    value["status"] = status;
}

pub(crate) fn qos(spec: &Value) -> &'static str {
    let all = object::items(spec, "/containers");
    let named = |c: &Value, list: &str| c["resources"][list].as_object().is_some_and(|m| !m.is_empty());
    if all.iter().all(|c| !named(c, "requests") && !named(c, "limits")) {
        "BestEffort"
    } else if all.iter().all(|c| named(c, "limits") && c["resources"]["requests"] == c["resources"]["limits"])
    {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
