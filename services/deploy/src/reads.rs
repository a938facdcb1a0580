//! Read endpoints of applications.

use std::ops::Bound;

use bcs_kit::{
    bus,
    machine::{Live, Machine},
    reads::{Page, Reads},
    run::Deps,
};
use bcs_schemas::{
    Service,
    query::{AppPast, AppPhase, AppStatus, AppView, Query},
    subject::Target,
};

use crate::{
    domain::{
        app::{App, AppKey},
        state::Deploy,
    },
    shell::statuses::Statuses,
};

/// `bcs.qry.deploy.app.list`, `.get` and `.past`.
pub(crate) async fn open(
    machine: &Machine<Deploy>,
    statuses: &Statuses,
    deps: &Deps,
) -> Result<(), bus::Error> {
    let mut reads = Reads::new(Service::Deploy, machine.clone(), &deps.clock);
    let of = statuses.clone();
    reads.serve_list("app", move |live, query, page| list(live, query, &of, page));
    let of = statuses.clone();
    reads.serve("app", "get", move |live, query| {
        let name = query.name.as_ref().ok_or("name: is missing")?;
        let project = query.project.as_ref().ok_or("project: is missing")?;
        let missing = || format!("there is no app {name} in project {project}");
        let key = AppKey { project: project.clone(), name: name.clone() };
        live.state.apps.get(&key).map(|app| view(live, &key, app, &of)).ok_or_else(missing)
    });
    reads.serve_past("app", past);
    reads.open(&deps.bus, &deps.tasks).await
}

fn list(
    live: &Live<Deploy>,
    query: &Query,
    statuses: &Statuses,
    page: &mut Page<AppView>,
) -> Result<(), String> {
    let after = query.after.as_ref().map(|after| after.parse::<AppKey>()).transpose();
    let from = match after.map_err(|e| format!("after: {e}: expected `next` of the page before"))? {
        Some(key) => Bound::Excluded(key),
        None => Bound::Unbounded,
    };
    let wanted = |key: &AppKey| {
        query.project.as_ref().is_none_or(|p| *p == key.project)
            && query.name.as_ref().is_none_or(|n| *n == key.name)
    };
    for (key, app) in live.state.apps.range((from, Bound::Unbounded)).filter(|(key, _)| wanted(key)) {
        if !page.add(|| key.to_string(), view(live, key, app, statuses)) {
            break;
        }
    }
    Ok(())
}

fn view(live: &Live<Deploy>, key: &AppKey, app: &App, statuses: &Statuses) -> AppView {
    AppView {
        project: key.project.clone(),
        name: key.name.clone(),
        labels: app.labels.clone(),
        spec: app.spec.clone(),
        generation: app.generation,
        revision: live.revision(&key.target()),
        created_at: app.created_at,
        status: statuses.get(key).status.unwrap_or_else(|| not_looked_at(app)),
    }
}

fn past(live: &Live<Deploy>, target: &Target) -> Option<AppPast> {
    let key = AppKey::of(target);
    let app = live.state.apps.get(&key)?;
    Some(AppPast {
        labels: app.labels.clone(),
        spec: app.spec.clone(),
        generation: app.generation,
        revision: live.revision(target),
        created_at: app.created_at,
        project: key.project,
        name: key.name,
    })
}

fn not_looked_at(app: &App) -> AppStatus {
    AppStatus {
        phase: AppPhase::Pending,
        observed_generation: 0,
        reason: Some("not looked at yet".to_owned()),
        blocking: None,
        since: app.changed_at,
        deadline: None,
        revision: app.revision.clone(),
        healthy_revision: app.healthy_revision.clone(),
        replicas: app.total(),
        updated: 0,
        ready: 0,
        available: 0,
        draining: 0,
        clusters: Default::default(),
        observed_at: app.changed_at,
    }
}
