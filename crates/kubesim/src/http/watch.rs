//! Watches: the history of a collection from a version on, then whatever comes.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    Api, Call, Reply, read,
    represent::{self, Form},
    table,
    target::Target,
};
use crate::{
    kind::Kind,
    object,
    selector::Selector,
    status::Status,
    store::{Change, Event},
};

const BOOKMARK_EVERY: Duration = Duration::from_secs(30);

struct Watch {
    api: Arc<Api>,
    kind: &'static Kind,
    shown: &'static Kind,
    namespace: String,
    selector: Selector,
    form: Form,
    include: String,
    bookmarks: bool,
    cursor: u64,
    queue: VecDeque<Bytes>,
    changed: watch::Receiver<u64>,
    dropped: watch::Receiver<u64>,
    until: Instant,
    next_bookmark: Instant,
    columns_sent: bool,
    ended: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.api.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn start(api: &Arc<Api>, target: &Target, call: &Call) -> Reply {
    let mut selector = read::selector(call)?;
    if !target.name.is_empty() {
        selector.fields = crate::selector::Fields::parse(&format!("metadata.name={}", target.name))
            .map_err(|e| Status::bad_request(e.to_string()))?;
    }
    let changed = api.store.signal(target.kind);
    let seconds = call.param("timeoutSeconds").parse().unwrap_or(3600);
    let now = Instant::now();
    api.watches.fetch_add(1, Ordering::Relaxed);
    let mut watch = Watch {
        api: Arc::clone(api),
        kind: target.kind,
        shown: target.shown,
        namespace: target.namespace.clone(),
        selector,
        form: call.form,
        include: call.param("includeObject").to_owned(),
        bookmarks: call.flag("allowWatchBookmarks"),
        cursor: 0,
        queue: VecDeque::new(),
        changed,
        dropped: api.faults.watch_drops(),
        until: now + Duration::from_secs(seconds),
        next_bookmark: now + BOOKMARK_EVERY,
        columns_sent: false,
        ended: false,
    };
    watch.begin(call)?;
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let bytes = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), watch))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Watch {
    /// From a version on; or, without one, everything there is as `ADDED` first.
    fn begin(&mut self, call: &Call) -> Result<(), Status> {
        let initial = call.flag("sendInitialEvents");
        let version = call.param("resourceVersion");
        if !initial && !matches!(version, "" | "0") {
            let wrong = |_| Status::bad_request(format!("invalid resource version: {version:?}"));
            self.cursor = version.parse().map_err(wrong)?;
            // A version that is too old is an event of the stream, not an answer of its own: clients expect it there.
            return Ok(());
        }
        let mut listing = self.api.store.list(self.kind, &self.namespace);
        listing.objects.retain(|o| self.selector.matches(o));
        self.cursor = listing.version;
        if initial || !call.query.contains_key("sendInitialEvents") {
            for object in &listing.objects {
                let line = self.line(Change::Added.as_str(), object);
                self.queue.push_back(line);
            }
        }
        if initial {
            let line = self.bookmark(true);
            self.queue.push_back(line);
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(line);
            }
            if self.ended || self.dropped.has_changed().unwrap_or(true) {
                return None;
            }
            self.changed.mark_unchanged();
            self.fill();
            if !self.queue.is_empty() {
                continue;
            }
            let stop = self.api.tasks.stop.clone();
            tokio::select! {
                _ = self.changed.changed() => {}
                _ = self.dropped.changed() => return None,
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Some(self.bookmark(false));
                }
            }
        }
    }

    fn fill(&mut self) {
        match self.api.store.changes(self.kind, self.cursor) {
            Ok((version, events)) => {
                self.cursor = version;
                for event in events {
                    if let Some(line) = self.translate(&event) {
                        self.queue.push_back(line);
                    }
                }
            }
            // The watcher was slower than the history is long: it must list again.
            Err(status) => {
                self.queue.push_back(line("ERROR", &status.body()));
                self.ended = true;
            }
        }
    }

    /// What an event is for this selection: objects enter and leave it.
    fn translate(&mut self, event: &Event) -> Option<Bytes> {
        if !self.namespace.is_empty() && object::namespace(&event.object) != self.namespace {
            return None;
        }
        let fits = event.change != Change::Deleted && self.selector.matches(&event.object);
        let fitted = event.previous.as_ref().is_some_and(|p| self.selector.matches(p));
        let change = match (fitted, fits) {
            (false, false) => return None,
            (false, true) => Change::Added,
            (true, true) => Change::Modified,
            (true, false) => Change::Deleted,
        };
        // The event is written once for all who read it in the version in which it is stored.
        if self.form == Form::Full && change == event.change && self.shown.is_stored() {
            let full = |kind: &Kind| line(change.as_str(), &represent::typed(kind, &event.object));
            return Some(event.encoded(|| full(self.shown)));
        }
        Some(self.line(change.as_str(), &event.object))
    }

    fn line(&mut self, change: &str, object: &Value) -> Bytes {
        if self.form == Form::Table {
            let body = table::render(
                self.shown,
                std::iter::once(object),
                &self.include,
                &serde_json::Map::new(),
                !self.columns_sent,
            );
            self.columns_sent = true;
            return line(change, &body);
        }
        line(change, &represent::one(self.form, self.shown, object, ""))
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let mut body = json!({
            "kind": self.shown.kind, "apiVersion": self.shown.api_version(),
            "metadata": {"resourceVersion": self.cursor.to_string(), "creationTimestamp": null},
        });
        if initial_end {
            body["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        line("BOOKMARK", &body)
    }
}

fn line(change: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{{\"type\":\"{change}\",\"object\":{object}}}\n"))
}
