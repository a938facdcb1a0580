//! What an event changes.

use bcs_schemas::{
    Name,
    cluster::{ClusterEvent, ClusterImported, Health},
};
use jiff::Timestamp;

use super::state::{Cordon, Member, State};

impl State {
    pub(super) fn apply(&mut self, name: &Name, event: &ClusterEvent, at: Timestamp) {
        match event {
            ClusterEvent::ClusterImported(imported) => self.take_in(name, imported, at),
            ClusterEvent::ClusterRemoved(_) => {
                if let Some(gone) = self.members.remove(name) {
                    self.retired.insert(name.clone(), gone.generation);
                }
            }
            ClusterEvent::ClusterLabelled(it) => self.change(name, |m| m.labels.clone_from(&it.labels)),
            ClusterEvent::ClusterHealthChanged(it) => self.change(name, |m| {
                m.health = it.to;
                m.reason = Some(it.reason.clone());
                m.since = at;
            }),
            ClusterEvent::NodeCordoned(it) => self.ask(name, &it.node, true, it.generation),
            ClusterEvent::NodeGone(it) => self.change(name, |m| {
                m.nodes.remove(&it.node);
            }),
            ClusterEvent::NodeUncordoned(it) => self.ask(name, &it.node, false, it.generation),
        }
    }

    /// A cluster that is known keeps its health: how it is reached says nothing about how it does.
    fn take_in(&mut self, name: &Name, imported: &ClusterImported, at: Timestamp) {
        let ClusterImported { generation, labels, spec } = imported.clone();
        self.retired.remove(name);
        if self.members.contains_key(name) {
            return self.change(name, |m| {
                m.generation = generation;
                m.labels = labels;
                m.spec = spec;
            });
        }
        let reason = Some("its agent has not reported yet".to_owned());
        let nodes = imbl::OrdMap::new();
        let fresh = Member { labels, spec, generation, health: Health::Unknown, reason, since: at, nodes };
        self.members.insert(name.clone(), fresh);
    }

    fn ask(&mut self, name: &Name, node: &str, cordoned: bool, generation: u64) {
        self.change(name, |m| {
            m.generation = generation;
            m.nodes.insert(node.to_owned(), Cordon { cordoned, generation });
        });
    }

    fn change(&mut self, name: &Name, how: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(name) {
            how(member);
        }
    }
}
