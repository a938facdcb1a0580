//! What a command means: the events to write, or why it is refused.

use bcs_schemas::{
    FieldError,
    deploy::{
        AppApplied, AppDeleted, AppDeletionRequested, AppPlaced, AppRestarted, AppScaled, ApplyApp,
        ClusterJoined, ClusterLeft, DeleteApp, DeployCommand, DeployEvent, LeftoversStopped,
        RolloutCompleted, RolloutStalled, RolloutStarted, ScaleApp,
    },
    outcome::{Rejection, RejectionCode},
    resource::{Labels, app::MAX_REPLICAS, validate_labels},
    subject::Target,
};

use super::{
    app::{App, AppKey},
    place,
    state::{Deploy, Internal},
};

type Decision = Result<Vec<(Target, DeployEvent)>, Rejection>;

/// A command from the bus.
pub(super) fn command(state: &Deploy, key: &AppKey, command: &DeployCommand) -> Decision {
    let events = match command {
        DeployCommand::ApplyApp(apply) => self::apply(state, key, apply)?,
        DeployCommand::ScaleApp(scale) => self::scale(state, key, scale)?,
        DeployCommand::RestartApp(_) => restart(existing(state, key)?),
        DeployCommand::DeleteApp(wish) => delete(state, key, wish)?,
    };
    Ok(events.into_iter().map(|event| (key.target(), event)).collect())
}

fn apply(state: &Deploy, key: &AppKey, command: &ApplyApp) -> Result<Vec<DeployEvent>, Rejection> {
    let ApplyApp { labels, spec } = command;
    let mut errors: Vec<FieldError> = spec.validate().into_iter().map(|e| e.under("spec")).collect();
    errors.extend(validate_labels(labels));
    if !errors.is_empty() {
        return Err(Rejection::invalid(errors));
    }
    let before = state.apps.get(key);
    if let Some(app) = before {
        not_deleting(key, app)?;
        if app.spec == *spec && app.labels == *labels {
            return Ok(Vec::new());
        }
    }
    let shares = place::shares(spec, &state.clusters).map_err(Rejection::invalid)?;
    let former = state.former.get(key).copied().unwrap_or_default();
    let generation = before.map_or(former, |app| app.generation) + 1;
    let template = spec.template(before.map_or(0, |app| app.restarts));
    let revision = template.revision();
    let mut events = vec![AppApplied { generation, labels: labels.clone(), spec: spec.clone() }.into()];
    if before.is_none_or(|app| app.shares != shares) {
        events.push(AppPlaced { shares }.into());
    }
    if before.is_none_or(|app| app.revision != revision) {
        events.push(RolloutStarted { revision, template }.into());
    }
    Ok(events)
}

fn scale(state: &Deploy, key: &AppKey, command: &ScaleApp) -> Result<Vec<DeployEvent>, Rejection> {
    let app = existing(state, key)?;
    let ScaleApp { replicas, remove } = command.clone();
    if replicas > MAX_REPLICAS {
        let problem = format!("{replicas} is too many: expected 0 to {MAX_REPLICAS}");
        return Err(Rejection::invalid(vec![FieldError::new("replicas", problem)]));
    }
    if replicas == app.spec.replicas && remove.is_empty() {
        return Ok(Vec::new());
    }
    let mut spec = app.spec.clone();
    spec.replicas = replicas;
    let shares = place::shares(&spec, &state.clusters).map_err(Rejection::invalid)?;
    let mut events = vec![AppScaled { generation: app.generation + 1, replicas, remove }.into()];
    if app.shares != shares {
        events.push(AppPlaced { shares }.into());
    }
    Ok(events)
}

fn restart(app: &App) -> Vec<DeployEvent> {
    let restarts = app.restarts + 1;
    let template = app.spec.template(restarts);
    vec![
        AppRestarted { generation: app.generation + 1, restarts }.into(),
        RolloutStarted { revision: template.revision(), template }.into(),
    ]
}

fn delete(state: &Deploy, key: &AppKey, wish: &DeleteApp) -> Result<Vec<DeployEvent>, Rejection> {
    let app = state.apps.get(key).ok_or_else(|| missing(state, key))?;
    let requested = AppDeletionRequested { generation: app.generation + 1, force: wish.force };
    let news = app.deleting_since.is_none() || (wish.force && !app.forced);
    Ok(if news { vec![requested.into()] } else { Vec::new() })
}

fn existing<'a>(state: &'a Deploy, key: &AppKey) -> Result<&'a App, Rejection> {
    let app = state.apps.get(key).ok_or_else(|| missing(state, key))?;
    not_deleting(key, app)?;
    Ok(app)
}

fn missing(state: &Deploy, key: &AppKey) -> Rejection {
    let there = state.apps.keys().filter(|k| k.project == key.project).map(|k| k.name.as_str()).take(20);
    let there: Vec<&str> = there.collect();
    let known = if there.is_empty() {
        "the project has none".to_owned()
    } else {
        format!("it has {}", there.join(", "))
    };
    let words = format!("there is no app {} in project {}: {known}", key.name, key.project);
    Rejection::new(RejectionCode::NotFound, words)
}

fn not_deleting(key: &AppKey, app: &App) -> Result<(), Rejection> {
    match app.deleting_since {
        None => Ok(()),
        Some(since) => {
            let words = format!("app {key} is being deleted since {since}: wait until it is gone");
            Err(Rejection::new(RejectionCode::Precondition, words))
        }
    }
}

/// A wish from inside. One that does not fit the state any more has no effect: whoever wished will look again.
pub(super) fn internal(state: &Deploy, target: &Target, wish: &Internal) -> Vec<(Target, DeployEvent)> {
    let app = || state.apps.get(&AppKey::of(target));
    let of_app = |event: DeployEvent| vec![(target.clone(), event)];
    match wish {
        Internal::ObserveCluster(labels) => observe_cluster(state, target, labels),
        Internal::ForgetCluster => forget_cluster(state, target),
        Internal::Complete { revision } => match app() {
            Some(app) if app.revision == *revision && app.healthy_revision.as_ref() != Some(revision) => {
                of_app(RolloutCompleted { revision: revision.clone() }.into())
            }
            _ => Vec::new(),
        },
        Internal::Stall { generation, reason, blocking } => match app() {
            Some(app) if app.generation == *generation && app.stalled_generation != Some(*generation) => {
                let (revision, reason, blocking) = (app.revision.clone(), reason.clone(), blocking.clone());
                of_app(RolloutStalled { revision, reason, blocking }.into())
            }
            _ => Vec::new(),
        },
        Internal::Forget { generation, leftovers } => match app() {
            Some(app) if app.deleting_since.is_some() && app.generation == *generation => {
                of_app(AppDeleted { leftovers: leftovers.clone() }.into())
            }
            _ => Vec::new(),
        },
        Internal::Swept { clusters } => match state.tombstones.get(&AppKey::of(target)) {
            Some(left) if !left.clusters.is_disjoint(clusters) => {
                of_app(LeftoversStopped { clusters: &left.clusters & clusters }.into())
            }
            _ => Vec::new(),
        },
    }
}

fn observe_cluster(state: &Deploy, target: &Target, labels: &Labels) -> Vec<(Target, DeployEvent)> {
    if state.clusters.get(&target.name) == Some(labels) {
        return Vec::new();
    }
    let mut after = state.clone();
    after.clusters.insert(target.name.clone(), labels.clone());
    let joined = ClusterJoined { labels: labels.clone() };
    std::iter::once((target.clone(), joined.into())).chain(placed_anew(&after)).collect()
}

fn forget_cluster(state: &Deploy, target: &Target) -> Vec<(Target, DeployEvent)> {
    if !state.clusters.contains_key(&target.name) {
        return Vec::new();
    }
    let mut after = state.clone();
    after.clusters.remove(&target.name);
    std::iter::once((target.clone(), ClusterLeft {}.into())).chain(placed_anew(&after)).collect()
}

/// Applications placed by selector follow the clusters; those placed by name stay where they were put.
fn placed_anew(state: &Deploy) -> Vec<(Target, DeployEvent)> {
    let follows = |app: &App| app.spec.placement.selector.is_some() && app.deleting_since.is_none();
    let anew = state.apps.iter().filter(|(_, app)| follows(app)).filter_map(|(key, app)| {
        let shares = place::shares_now(&app.spec, &state.clusters);
        // When no cluster fits any more, it stays where it is: that is more likely a mistake than a wish to stop it all.
        (!shares.is_empty() && shares != app.shares).then(|| (key.target(), AppPlaced { shares }.into()))
    });
    anew.collect()
}

#[cfg(test)]
mod tests;
