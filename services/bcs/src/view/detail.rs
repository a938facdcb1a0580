//! Everything about one object on one page, for people.

use bcs_client::EventRecord;
use bcs_schemas::{
    observation::{Endpoint, Node, Registration, RegistryStatus},
    query::{AppView, ClusterView},
};
use jiff::Timestamp;

use super::{Listed, age, age::until, ago, fleet::labels, instance::place, or_dash, table, word};
use crate::{color, output, output::Format};

/// An application, its instances with what registries know of them, and what happened lately.
pub(crate) fn app(
    app: &AppView,
    endpoints: &[Endpoint],
    registrations: &[Registration],
    events: &[EventRecord],
    as_of: Timestamp,
) -> String {
    let status = &app.status;
    let mut text = heading(&format!("app/{} in project {}", app.name, app.project));
    let mut say = |name: &str, value: String| text.push_str(&format!("{name:<12}{value}\n"));
    say(
        "Phase",
        format!(
            "{}, {}/{} available",
            color::state(&status.phase.to_string()),
            status.available,
            status.replicas
        ),
    );
    if status.reason.is_some() || status.blocking.is_some() {
        say("Why", waiting(app, as_of));
    }
    if let Some(deadline) = status.deadline {
        say("Deadline", until(deadline, as_of));
    }
    let counts = (status.updated, status.ready, status.draining);
    say("Instances", format!("{} updated, {} ready, {} draining", counts.0, counts.1, counts.2));
    say("Image", app.spec.image.to_string());
    let healthy = or_dash(status.healthy_revision.as_ref());
    say("Revision", format!("{}, last healthy {healthy}", status.revision));
    let seen = (app.generation, status.observed_generation);
    say(
        "Generation",
        format!("{}, taken into account {}, journal revision {}", seen.0, seen.1, app.revision),
    );
    say("Labels", labels(&app.labels));
    say("Created", ago(app.created_at, as_of));
    say("Seen", ago(status.observed_at, as_of));
    let part = |(name, part): (&bcs_schemas::Name, &bcs_schemas::query::ClusterStatus)| {
        let numbers = [part.replicas, part.updated, part.ready, part.available].map(|n| n.to_string());
        let mut cells = vec![name.to_string()];
        cells.extend(numbers);
        cells.push(or_dash(part.stale.as_ref()));
        cells
    };
    let head = ["CLUSTER", "WANTED", "UPDATED", "READY", "AVAILABLE", "STALE"];
    section(&mut text, "Clusters", &table(&head, status.clusters.iter().map(part)));
    section(&mut text, "Instances", &instances(endpoints, registrations, as_of));
    section(&mut text, "Spec", output::text(Format::Yaml, &app.spec).unwrap_or_default().trim_end());
    section(&mut text, "Recent events", &happened(events, as_of));
    text
}

/// A cluster, its nodes and its registries.
pub(crate) fn cluster(
    cluster: &ClusterView,
    nodes: &[Node],
    registries: &[RegistryStatus],
    events: &[EventRecord],
    as_of: Timestamp,
) -> String {
    let mut text = heading(&format!("cluster/{}", cluster.name));
    let mut say = |name: &str, value: String| text.push_str(&format!("{name:<12}{value}\n"));
    let health = color::state(&cluster.health.to_string());
    say("Health", format!("{health}, since {}", age(cluster.since, as_of)));
    if let Some(reason) = &cluster.reason {
        say("Why", reason.clone());
    }
    say("Seen", or_dash(cluster.observed_at.map(|at| ago(at, as_of))));
    say("Version", or_dash(cluster.version.as_ref()));
    say("Nodes", format!("{}/{} ready", cluster.nodes_ready, cluster.nodes));
    say("Labels", labels(&cluster.labels));
    say("Generation", format!("{}, journal revision {}", cluster.generation, cluster.revision));
    section(&mut text, "Nodes", &rows(nodes, as_of));
    section(&mut text, "Registries", &rows(registries, as_of));
    section(&mut text, "Spec", output::text(Format::Yaml, &cluster.spec).unwrap_or_default().trim_end());
    section(&mut text, "Recent events", &happened(events, as_of));
    text
}

/// A registry as one cluster's sidecar keeps it, and every instance that waits for it.
pub(crate) fn registry(status: &RegistryStatus, waiting: &[&Registration], as_of: Timestamp) -> String {
    let mut text = heading(&format!("registry/{} of cluster {}", status.registry, status.cluster));
    let mut say = |name: &str, value: String| text.push_str(&format!("{name:<12}{value}\n"));
    say("Driver", status.driver.clone());
    let reachable = color::state(if status.reachable { "yes" } else { "no" });
    say("Reachable", format!("{reachable}, seen {}", ago(status.observed_at, as_of)));
    if let Some(reason) = &status.reason {
        say("Why", reason.clone());
    }
    let sidecar = status.sidecar.as_ref().map_or("without a name", bcs_schemas::Name::as_str);
    say("Sidecar", format!("{sidecar}, epoch {}", status.epoch));
    say("Entries", format!("{}, {} refused", status.entries, status.quarantined));
    let oldest = status.oldest_pending_since.map(|at| format!(", the oldest since {}", age(at, as_of)));
    say("Pending", format!("{}{}", status.pending, oldest.unwrap_or_default()));
    say(
        "Changes",
        format!(
            "{} made, {} calls failed, {} repaired",
            status.writes, status.failures, status.drift_repaired
        ),
    );
    if waiting.is_empty() {
        say("Waiting", "nobody".to_owned());
        return text;
    }
    let row = |registration: &&Registration| {
        vec![
            registration.app.to_string(),
            registration.instance.clone(),
            color::state(&word(&registration.state)),
            age(registration.since, as_of),
            or_dash(registration.retry_at.map(|at| until(at, as_of))),
            or_dash(registration.reason.as_ref()),
        ]
    };
    let head = ["APP", "INSTANCE", "STATE", "SINCE", "RETRY", "WHY"];
    section(&mut text, "Waiting", &table(&head, waiting.iter().map(row)));
    text
}

fn waiting(app: &AppView, as_of: Timestamp) -> String {
    let status = &app.status;
    let reason = status.reason.as_deref().unwrap_or("waits");
    let blocking = status.blocking.as_ref().map(|object| format!(" ({object})")).unwrap_or_default();
    format!("{reason}{blocking}, since {}", age(status.since, as_of))
}

fn instances(endpoints: &[Endpoint], registrations: &[Registration], as_of: Timestamp) -> String {
    let known = |endpoint: &Endpoint| {
        let its = registrations.iter().filter(|r| {
            r.instance == endpoint.instance && r.uid == endpoint.uid && r.cluster == endpoint.cluster
        });
        let words: Vec<String> = its.map(|r| format!("{}:{}", r.registry, word(&r.state))).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(",") }
    };
    let row = |endpoint: &Endpoint| {
        vec![
            endpoint.instance.clone(),
            endpoint.cluster.to_string(),
            place(endpoint),
            color::state(&word(&endpoint.phase)),
            endpoint.revision.to_string(),
            known(endpoint),
            age(endpoint.since, as_of),
            age(endpoint.observed_at, as_of),
            or_dash(endpoint.reason.as_ref()),
        ]
    };
    let head =
        ["INSTANCE", "CLUSTER", "ADDRESS", "PHASE", "REVISION", "REGISTRATIONS", "SINCE", "SEEN", "WHY"];
    if endpoints.is_empty() { "none".to_owned() } else { table(&head, endpoints.iter().map(row)) }
}

fn rows<T: Listed>(items: &[T], as_of: Timestamp) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    table(T::COLUMNS.0, items.iter().map(|item| item.cells(as_of)))
}

fn happened(events: &[EventRecord], as_of: Timestamp) -> String {
    let row = |event: &EventRecord| {
        vec![
            ago(event.headers.time, as_of),
            event.headers.type_name.verb.clone(),
            event.headers.actor.clone(),
            short(&event.payload.to_string()),
        ]
    };
    if events.is_empty() {
        return "none".to_owned();
    }
    table(&["WHEN", "WHAT", "WHO", "DETAILS"], events.iter().map(row))
}

/// The beginning of a text that may be long.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn heading(text: &str) -> String {
    format!("{}\n", color::strong(text))
}

fn section(text: &mut String, name: &str, body: &str) {
    let body = body.lines().map(|line| format!("  {line}\n")).collect::<String>();
    text.push_str(&format!("\n{}\n{body}", color::strong(name)));
}
