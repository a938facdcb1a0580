//! The columns of jobs and of what makes them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Column, age, duration,
    workload::{or, pods},
};
use crate::{
    clock,
    kind::Kind,
    object::{self, int, items, text},
};

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.id {
        "jobs.batch" => &[
            ("Name", false),
            ("Status", false),
            ("Completions", false),
            ("Duration", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        "cronjobs.batch" => &[
            ("Name", false),
            ("Schedule", false),
            ("Timezone", false),
            ("Suspend", false),
            ("Active", false),
            ("Last Schedule", false),
            ("Age", false),
            ("Containers", true),
            ("Images", true),
            ("Selector", true),
        ],
        _ => return None,
    })
}

pub(super) fn cells(kind: &Kind, object: &Value, name: &Value, age: &Value) -> Option<Vec<Value>> {
    let [containers, images, selector] = pods(&object["spec"]);
    let mut row = match kind.id {
        "jobs.batch" => {
            vec![
                json!(job_status(object)),
                completions(object),
                took(object),
                age.clone(),
                containers,
                images,
                selector,
            ]
        }
        "cronjobs.batch" => cron_job(object, age),
        _ => return None,
    };
    row.insert(0, name.clone());
    Some(row)
}

fn job_status(job: &Value) -> &'static str {
    let is = |name: &str| object::condition_true(job, name);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if object::deleting(job) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(job: &Value) -> Value {
    let done = int(job, "/status/succeeded").unwrap_or(0);
    let parallel = int(job, "/spec/parallelism").unwrap_or(1);
    json!(match int(job, "/spec/completions") {
        Some(wanted) => format!("{done}/{wanted}"),
        None if parallel > 1 => format!("{done}/1 of {parallel}"),
        None => format!("{done}/1"),
    })
}

fn took(job: &Value) -> Value {
    let instant = |pointer: &str| text(job, pointer).parse::<Timestamp>().ok();
    json!(instant("/status/startTime").map_or(String::new(), |start| {
        let end = instant("/status/completionTime").unwrap_or_else(clock::now);
        duration(end.duration_since(start))
    }))
}

fn cron_job(object: &Value, born: &Value) -> Vec<Value> {
    let [containers, images, selector] = pods(&object["spec"]["jobTemplate"]["spec"]);
    let last = text(object, "/status/lastScheduleTime");
    vec![
        object["spec"]["schedule"].clone(),
        or(text(object, "/spec/timeZone"), "<none>"),
        json!(if object["spec"]["suspend"] == true { "True" } else { "False" }),
        json!(items(object, "/status/active").len()),
        json!(if last.is_empty() { "<none>".to_owned() } else { age(last) }),
        born.clone(),
        containers,
        images,
        selector,
    ]
}
