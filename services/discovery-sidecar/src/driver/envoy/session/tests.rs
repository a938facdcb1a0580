//! Streams as Envoys lead them, message by message.

use std::sync::Arc;

use super::*;
use crate::{
    domain::{Naming, Place},
    driver::envoy::layout::Host,
    testing,
};

struct Story {
    session: Session,
    snapshot: Snapshot,
}

impl Story {
    fn new() -> Self {
        Self { session: Session::default(), snapshot: Snapshot::default() }
    }

    fn put(&mut self, cluster: &str, number: u32) -> u64 {
        let spec = serde_json::json!({ "driver": { "envoy": {} } });
        let naming = Naming::of(&testing::name("r"), &serde_json::from_value(spec).expect("a spec"));
        let entry = naming.entry(&Arc::new(testing::endpoint("web", number))).expect("an entry");
        let host = Host::of(&entry, u64::from(number)).expect("a host");
        self.snapshot.stage(cluster, vec![(Place::from(format!("{cluster}/{number}")), Some(host))])
    }

    fn asks(&mut self, names: &[&str], nonce: &str, error: Option<&str>) {
        let names = Names::All(names.iter().map(ToString::to_string).collect());
        let error = error.map(ToOwned::to_owned);
        self.session.hear(Heard { node: None, names, nonce: nonce.to_owned(), error });
    }

    /// Version, nonce and the clusters of what is sent next.
    fn sent(&mut self) -> Option<(String, String, Vec<String>)> {
        let push = self.session.next(&mut self.snapshot, 7)?;
        Some((push.version, push.nonce, push.clusters.into_iter().map(|(name, _, _)| name).collect()))
    }

    fn expect(&mut self, version: &str, nonce: &str, clusters: &[&str]) {
        let clusters = clusters.iter().map(ToString::to_string).collect();
        assert_eq!(self.sent(), Some((version.to_owned(), nonce.to_owned(), clusters)));
    }
}

#[test]
fn one_answer_is_under_way_at_a_time_and_what_changed_meanwhile_follows() {
    let mut story = Story::new();
    let first = story.put("web", 1);
    assert_eq!(story.sent(), None, "nobody asked");
    story.asks(&["web", "api"], "", None);
    story.expect("7.1", "1", &["api", "web"]);
    let second = story.put("web", 2);
    assert_eq!(story.sent(), None);
    story.asks(&["web", "api"], "0", None);
    assert_eq!(story.sent(), None, "another nonce");
    assert_eq!(story.session.said("web", first), Said::Nothing);
    story.asks(&["web", "api"], "1", None);
    assert_eq!(story.session.said("web", first), Said::Yes);
    assert_eq!(story.session.said("web", second), Said::Nothing);
    story.expect("7.2", "2", &["web"]);
    story.asks(&["web", "api"], "2", None);
    assert_eq!(story.sent(), None);
    assert_eq!(story.session.said("web", second), Said::Yes);
}

#[test]
fn clusters_that_are_refused_together_are_sent_apart_until_it_is_known_which_is_meant() {
    let mut story = Story::new();
    let (api, web) = (story.put("api", 1), story.put("web", 2));
    story.asks(&["web", "api"], "", None);
    story.expect("7.2", "1", &["api", "web"]);
    story.asks(&["web", "api"], "1", Some("no"));
    story.expect("7.2", "2", &["api"]);
    story.asks(&["web", "api"], "2", Some("malformed"));
    story.expect("7.2", "3", &["web"]);
    story.asks(&["web", "api"], "3", None);
    assert_eq!(story.session.said("api", api), Said::No("malformed"));
    assert_eq!(story.sent(), None);
    assert_eq!(story.session.said("web", web), Said::Yes);
    story.snapshot.undo("api");
    story.expect("7.3", "4", &["api"]);
    story.asks(&["web", "api"], "4", None);
    assert_eq!(story.session.said("api", api), Said::Yes);
}

#[test]
fn what_is_asked_for_anew_is_sent_anew() {
    let mut story = Story::new();
    story.put("web", 1);
    story.asks(&["web"], "", None);
    story.expect("7.1", "1", &["web"]);
    story.asks(&["web"], "1", None);
    story.asks(&["web", "api"], "1", None);
    story.expect("7.1", "2", &["api"]);
    story.asks(&["web", "api"], "2", None);
    story.asks(&["api"], "2", None);
    assert_eq!(story.sent(), None, "asked for less");
    story.asks(&["web", "api"], "2", None);
    story.expect("7.1", "3", &["web"]);
    story.asks(&["web", "api"], "3", None);
    story.asks(&["web", "api"], "3", None);
    story.expect("7.1", "4", &["api", "web"]);
}
