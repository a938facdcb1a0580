//! The log of a container: what a real process wrote, or what a simulated one would have.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Api, Call, Reply, container, target::Target};
use crate::{
    clock, kind,
    kubelet::{
        process::log::{Line, Log},
        session::{runs, status},
    },
    object::{self, Key, int, text},
    status::Status,
    store::Store,
};

pub(crate) fn serve(api: &Api, target: &Target, call: &Call) -> Reply {
    let pod = api
        .store
        .get(target.kind, &target.key())
        .ok_or_else(|| Status::not_found(target.kind, &target.name))?;
    let options = Options::read(call, clock::now())?;
    let container = container::named(&pod, call.param("container"))?;
    let status = status(&pod, container);
    let previous = call.flag("previous");
    let real = api.logs.find(object::uid(&pod), container, previous);
    let log = real.clone().or_else(|| simulated(&pod, container, status, previous));
    let log = log.ok_or_else(|| missing(&target.name, container, status, previous))?;
    let (lines, next, _) = log.since(0);
    let mut stream = Stream {
        queue: options.select(lines).into(),
        follow: call.flag("follow") && !previous,
        simulated: real.is_none(),
        left: options.limit,
        options,
        log,
        next,
        store: Arc::clone(&api.store),
        key: Key::of(&pod),
        run: text(status, "/containerID").to_owned(),
        container: container.to_owned(),
        stop: api.tasks.stop.clone(),
    };
    let body = if stream.follow {
        Body::from_stream(futures::stream::unfold(stream, |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok::<_, std::convert::Infallible>(bytes), stream))
        }))
    } else {
        let all: Vec<Bytes> = std::iter::from_fn(|| stream.pop()).collect();
        Body::from(all.concat())
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// What a simulated container says; nothing before it has run.
fn simulated(pod: &Value, name: &str, status: &Value, previous: bool) -> Option<Arc<Log>> {
    let state = if previous { &status["lastState"] } else { &status["state"] };
    let ended = &state["terminated"];
    let started =
        if ended.is_object() { text(ended, "/startedAt") } else { text(state, "/running/startedAt") };
    let at: Timestamp = started.parse().ok()?;
    let log = Log::default();
    log.write(at, &format!("{started} {name} started\n"));
    log.write(at, &format!("{started} {name} listening on {}\n", text(pod, "/status/podIP")));
    if let Ok(at) = text(ended, "/finishedAt").parse() {
        let code = int(ended, "/exitCode").unwrap_or(0);
        log.write(at, &format!("{} {name} ended with {code}\n", text(ended, "/finishedAt")));
        log.close();
    }
    Some(Arc::new(log))
}

fn missing(pod: &str, container: &str, status: &Value, previous: bool) -> Status {
    if previous {
        let message = format!("previous terminated container {container:?} in pod {pod:?} not found");
        return Status::bad_request(message);
    }
    let why = match text(status, "/state/waiting/reason") {
        "" => "ContainerCreating",
        "ErrImagePull" | "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    };
    Status::bad_request(format!("container {container:?} in pod {pod:?} is waiting to start: {why}"))
}

#[derive(Debug, Clone, Default)]
struct Options {
    since: Option<Timestamp>,
    tail: Option<usize>,
    timestamps: bool,
    limit: Option<usize>,
}

impl Options {
    fn read(call: &Call, now: Timestamp) -> Result<Self, Status> {
        let number = |name: &str| match call.param(name) {
            "" => Ok(None),
            given => given.parse::<u32>().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "invalid value {given:?} of {name}: it must be a number that is not negative"
                ))
            }),
        };
        let seconds = number("sinceSeconds")?;
        let time = call.param("sinceTime");
        let time =
            (!time.is_empty()).then(|| time.parse().map_err(|_| Status::bad_request("invalid sinceTime")));
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(Self {
            since: seconds.map(|n| now - SignedDuration::from_secs(i64::from(n))).or(time.transpose()?),
            tail: number("tailLines")?.map(size),
            timestamps: call.flag("timestamps"),
            limit: number("limitBytes")?.map(size),
        })
    }

    /// The lines of the past that are wanted.
    fn select(&self, mut lines: Vec<Line>) -> Vec<Line> {
        lines.retain(|line| self.since.is_none_or(|since| line.at >= since));
        let skip = self.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        lines.split_off(skip)
    }
}

struct Stream {
    queue: VecDeque<Line>,
    options: Options,
    /// How many bytes may still be sent.
    left: Option<usize>,
    follow: bool,
    log: Arc<Log>,
    next: u64,
    simulated: bool,
    store: Arc<Store>,
    key: Key,
    container: String,
    run: String,
    stop: CancellationToken,
}

impl Stream {
    fn pop(&mut self) -> Option<Bytes> {
        if self.left == Some(0) {
            return None;
        }
        let line = self.queue.pop_front()?;
        let mut text =
            if self.options.timestamps { format!("{} {}", line.at, line.text) } else { line.text.into() };
        if let Some(left) = &mut self.left {
            let cut = (0..=text.len().min(*left)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            *left = if cut < text.len() { 0 } else { *left - cut };
            text.truncate(cut);
        }
        Some(Bytes::from(text))
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.pop() {
                return Some(bytes);
            }
            let mut written = self.log.changes();
            let mut pods = self.store.signal(&kind::PODS);
            let (lines, next, more) = self.log.since(self.next);
            self.next = next;
            self.queue.extend(lines);
            if !self.queue.is_empty() && self.left != Some(0) {
                continue;
            }
            if !more || self.left == Some(0) || (self.simulated && !self.runs()) {
                return None;
            }
            tokio::select! {
                // The kubelet lets go of the log together with the pod.
                changed = written.changed() => if changed.is_err() { return None },
                changed = pods.changed(), if self.simulated => if changed.is_err() { return None },
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// Whether a simulated container is still in the run that is followed.
    fn runs(&self) -> bool {
        runs(&self.store, &self.key, &self.container, &self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_cut_as_asked() {
        let line = |second: i64| Line {
            at: Timestamp::from_second(second).expect("a time"),
            text: format!("{second}\n").into(),
        };
        let since = Timestamp::from_second(2).ok();
        for (options, expected) in [
            (Options::default(), vec![1, 2, 3]),
            (Options { tail: Some(2), ..Options::default() }, vec![2, 3]),
            (Options { tail: Some(0), ..Options::default() }, vec![]),
            (Options { since, ..Options::default() }, vec![2, 3]),
            (Options { since, tail: Some(1), ..Options::default() }, vec![3]),
        ] {
            let found = options.select((1..4).map(line).collect());
            assert_eq!(found, expected.into_iter().map(line).collect::<Vec<_>>(), "{options:?}");
        }
    }
}
