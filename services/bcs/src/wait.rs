//! Waits until the platform says that it is done. The state on the server decides, never a timer here: the same question
//! is asked some times a second, and what it answers is shown.

use std::{collections::BTreeMap, time::Duration};

use bcs_client::Client;
use bcs_schemas::{
    Millis, Name,
    query::{AppPhase, AppView, Query},
};
use tokio::time::Instant;

use crate::{Exit, Failure, progress::Progress};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Every wanted instance is ready and registered.
    Available,
    /// Nothing is left.
    Gone,
}

/// An application of which an intent was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) project: Name,
    pub(crate) name: Name,
    /// Position of the journal from which on the intent is visible.
    pub(crate) revision: u64,
}

/// How one application stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Done(String),
    Going(String),
    Stuck(String),
}

/// Says how an application stands. A status that has not taken the intent into account yet says nothing.
pub(crate) fn judge(view: Option<&AppView>, goal: Goal) -> Verdict {
    let Some(view) = view else {
        return match goal {
            Goal::Gone => Verdict::Done("gone".to_owned()),
            Goal::Available => Verdict::Stuck("was deleted while it was waited for".to_owned()),
        };
    };
    let status = &view.status;
    if status.observed_generation < view.generation {
        return Verdict::Going("accepted, not looked at yet".to_owned());
    }
    let counts = format!("{}/{} available", status.available, status.replicas);
    let why = match (&status.reason, &status.blocking) {
        (Some(reason), Some(object)) => format!(": {reason} ({object})"),
        (Some(reason), None) => format!(": {reason}"),
        (None, Some(object)) => format!(": waits for {object}"),
        (None, None) => String::new(),
    };
    let draining =
        if status.draining > 0 { format!(", {} draining", status.draining) } else { String::new() };
    match (status.phase, goal) {
        (AppPhase::Stalled, _) => Verdict::Stuck(format!("stalled at {counts}{why}")),
        (AppPhase::Available, Goal::Available) => Verdict::Done(counts),
        (phase, _) => Verdict::Going(format!("{phase}, {counts}{draining}{why}")),
    }
}

/// Waits for all of them.
pub(crate) async fn wait(
    client: &Client,
    watched: &[Watched],
    goal: Goal,
    timeout: Millis,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout.std();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut progress = Progress::new(watched.iter().map(|w| w.name.to_string()));
    let mut open: BTreeMap<(Name, Name), Verdict> = BTreeMap::new();
    for app in watched {
        let start = Verdict::Going("accepted".to_owned());
        open.insert((app.project.clone(), app.name.clone()), start);
    }
    let mut stuck = Vec::new();
    while !open.is_empty() {
        if Instant::now() >= deadline {
            progress.end();
            return Err(late(&open, timeout));
        }
        let found = tokio::select! {
            biased;
            _ = &mut interrupted => {
                progress.end();
                return Err(stopped());
            }
            found = look(client, watched, &open, goal, deadline) => found,
        };
        match found {
            Ok(found) => {
                for ((project, name), view, verdict) in found {
                    progress.show(name.as_str(), view.as_ref(), &verdict);
                    match &verdict {
                        Verdict::Going(_) => drop(open.insert((project, name), verdict)),
                        Verdict::Done(_) => drop(open.remove(&(project, name))),
                        Verdict::Stuck(why) => {
                            stuck.push(format!("app/{name} {why}"));
                            open.remove(&(project, name));
                        }
                    }
                }
            }
            // The platform may be starting again; it goes on with what it has accepted.
            Err(error) => progress.trouble(&error.message),
        }
        if !open.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    progress.end();
    if stuck.is_empty() { Ok(()) } else { Err(Failure::failed(stuck.join("\n"))) }
}

type Found = Vec<((Name, Name), Option<AppView>, Verdict)>;

/// One question for each project.
async fn look(
    client: &Client,
    watched: &[Watched],
    open: &BTreeMap<(Name, Name), Verdict>,
    goal: Goal,
    deadline: Instant,
) -> Result<Found, Failure> {
    let mut projects: BTreeMap<&Name, u64> = BTreeMap::new();
    for app in watched {
        let newest = projects.entry(&app.project).or_default();
        *newest = app.revision.max(*newest);
    }
    let mut found = Vec::new();
    for (project, revision) in projects {
        let query = Query { project: Some(project.clone()), wait_for: Some(revision), ..Query::default() };
        let Ok(answer) = tokio::time::timeout_at(deadline, client.apps(&query)).await else { break };
        let views = answer?.data;
        for key in open.keys().filter(|(of, _)| of == project) {
            let view = views.iter().find(|view| view.project == key.0 && view.name == key.1);
            found.push((key.clone(), view.cloned(), judge(view, goal)));
        }
    }
    Ok(found)
}

fn stopped() -> Failure {
    let message =
        "waiting was interrupted, the platform goes on without us: look with `bcs get apps`".to_owned();
    Failure { exit: Exit::Interrupted, message }
}

fn late(open: &BTreeMap<(Name, Name), Verdict>, timeout: Millis) -> Failure {
    let line = |((_, name), verdict): (&(Name, Name), &Verdict)| match verdict {
        Verdict::Going(how) | Verdict::Done(how) | Verdict::Stuck(how) => format!("app/{name}: {how}"),
    };
    let lines: Vec<String> = open.iter().map(line).collect();
    Failure::timed_out(format!(
        "not finished after {timeout}, the platform goes on without us:\n  {}\n  look with `bcs get apps` and `bcs describe app NAME`",
        lines.join("\n  ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    #[test]
    fn the_status_decides_once_it_has_seen_the_intent() {
        let mut view = sample::app("shop-web");
        view.generation = 3;
        view.status.observed_generation = 2;
        view.status.phase = AppPhase::Stalled;
        assert!(matches!(judge(Some(&view), Goal::Available), Verdict::Going(_)), "an old stall is no stall");
        view.status.observed_generation = 3;
        view.status.reason = Some("image pull fails".to_owned());
        view.status.blocking = Some("sim-a/shop-web-1".to_owned());
        let Verdict::Stuck(why) = judge(Some(&view), Goal::Available) else { panic!("is stuck") };
        assert_eq!(why, "stalled at 4/6 available: image pull fails (sim-a/shop-web-1)");
        view.status.phase = AppPhase::Progressing;
        let Verdict::Going(how) = judge(Some(&view), Goal::Available) else { panic!("goes on") };
        assert_eq!(how, "Progressing, 4/6 available, 1 draining: image pull fails (sim-a/shop-web-1)");
        view.status.phase = AppPhase::Available;
        assert!(matches!(judge(Some(&view), Goal::Available), Verdict::Done(_)));
        assert!(matches!(judge(Some(&view), Goal::Gone), Verdict::Going(_)));
        assert!(matches!(judge(None, Goal::Gone), Verdict::Done(_)));
        assert!(matches!(judge(None, Goal::Available), Verdict::Stuck(_)));
    }
}
