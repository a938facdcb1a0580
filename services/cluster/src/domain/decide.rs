//! What a request means.

use bcs_kit::machine::{Ctx, Fact, Request, StateMachine};
use bcs_schemas::{
    FieldError, Name,
    cluster::{
        ClusterCommand, ClusterEvent, ClusterHealthChanged, ClusterImported, ClusterLabelled, ClusterRemoved,
        ImportCluster, NodeCordoned, NodeGone, NodeUncordoned,
    },
    outcome::{Rejection, RejectionCode},
    resource::{Labels, validate_labels},
    subject::Target,
};

use super::state::{Internal, Member, State};

impl StateMachine for State {
    type Command = ClusterCommand;
    type Internal = Internal;
    type Event = ClusterEvent;
    const SNAPSHOT_VERSION: u32 = 1;

    fn decide(
        &self,
        target: &Target,
        request: &Request<ClusterCommand, Internal>,
        _: &Ctx,
    ) -> Result<Vec<(Target, ClusterEvent)>, Rejection> {
        belongs_to_the_platform(target)?;
        let name = &target.name;
        let event = match request {
            Request::Command(ClusterCommand::ImportCluster(import)) => self.import(name, import)?,
            Request::Command(ClusterCommand::LabelCluster(it)) => label(self.member(name)?, &it.labels)?,
            Request::Command(ClusterCommand::RemoveCluster(_)) => {
                self.member(name)?;
                Some(ClusterRemoved {}.into())
            }
            Request::Command(ClusterCommand::CordonNode(it)) => cordon(self.member(name)?, &it.node)?,
            Request::Command(ClusterCommand::UncordonNode(it)) => uncordon(self.member(name)?, &it.node)?,
            Request::Internal(Internal::SetHealth { to, reason }) => {
                let from = self.member(name)?.health;
                let changed = ClusterHealthChanged { from, to: *to, reason: reason.clone() };
                (from != *to).then(|| changed.into())
            }
            Request::Internal(Internal::ForgetNode { node, generation }) => {
                let asked = self.member(name)?.nodes.get(node);
                let void = asked.is_some_and(|asked| asked.generation == *generation);
                void.then(|| NodeGone { node: node.clone(), generation: *generation }.into())
            }
        };
        Ok(event.into_iter().map(|event| (target.clone(), event)).collect())
    }

    fn evolve(&mut self, fact: &Fact<'_, ClusterEvent>) {
        self.apply(&fact.target.name, fact.event, fact.at);
    }
}

impl State {
    /// A member, or a refusal that says which ones there are.
    pub fn member(&self, name: &Name) -> Result<&Member, Rejection> {
        self.members.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.members.keys().map(Name::as_str).collect();
            let known = if known.is_empty() { "there is none yet".to_owned() } else { known.join(", ") };
            Rejection::new(RejectionCode::NotFound, format!("cluster {name} is unknown: {known}"))
        })
    }

    fn import(&self, name: &Name, import: &ImportCluster) -> Result<Option<ClusterEvent>, Rejection> {
        let spec = import.spec.validate().into_iter().map(|e| e.under("spec"));
        let wrong: Vec<FieldError> = spec.chain(validate_labels(&import.labels)).collect();
        if !wrong.is_empty() {
            return Err(Rejection::invalid(wrong));
        }
        let known = self.members.get(name);
        if known.is_some_and(|m| m.spec == import.spec && m.labels == import.labels) {
            return Ok(None);
        }
        let last = known.map(|m| m.generation).or_else(|| self.retired.get(name).copied()).unwrap_or(0);
        let (labels, spec) = (import.labels.clone(), import.spec.clone());
        Ok(Some(ClusterImported { generation: last + 1, labels, spec }.into()))
    }
}

fn belongs_to_the_platform(target: &Target) -> Result<(), Rejection> {
    if target.project == Name::system() {
        return Ok(());
    }
    let problem = format!("is {}: expected system, to which all clusters belong", target.project);
    Err(Rejection::invalid(vec![FieldError::new("metadata.project", problem)]))
}

fn label(member: &Member, labels: &Labels) -> Result<Option<ClusterEvent>, Rejection> {
    let wrong = validate_labels(labels);
    if !wrong.is_empty() {
        return Err(Rejection::invalid(wrong));
    }
    Ok((member.labels != *labels).then(|| ClusterLabelled { labels: labels.clone() }.into()))
}

fn cordon(member: &Member, node: &str) -> Result<Option<ClusterEvent>, Rejection> {
    named(node)?;
    let already = member.nodes.get(node).is_some_and(|asked| asked.cordoned);
    let generation = member.generation + 1;
    Ok((!already).then(|| NodeCordoned { node: node.to_owned(), generation }.into()))
}

/// Always a fact: somebody else may have closed the node in the cluster itself, and only the engine knows.
fn uncordon(member: &Member, node: &str) -> Result<Option<ClusterEvent>, Rejection> {
    named(node)?;
    Ok(Some(NodeUncordoned { node: node.to_owned(), generation: member.generation + 1 }.into()))
}

/// A node's name is a DNS name; anything else would only travel to the engine to be refused there.
fn named(node: &str) -> Result<(), Rejection> {
    let fits = (1..=253).contains(&node.len()) && node.split('.').all(|label| Name::new(label).is_ok());
    if fits {
        return Ok(());
    }
    let shown: String = node.chars().take(80).collect();
    let problem = format!("{shown:?} is no name of a node: expected DNS labels joined by dots");
    Err(Rejection::invalid(vec![FieldError::new("node", problem)]))
}

#[cfg(test)]
mod tests;
