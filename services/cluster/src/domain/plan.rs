//! What is left to be done about a node: the difference between what was asked and what is observed.

use bcs_schemas::step::{Step, StepRequest};

use super::state::Cordon;

/// What is known about the carrying out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether the node is seen closed; none when it is not seen.
    pub cordoned: Option<bool>,
    /// Last generation that the agent has carried out.
    pub done: Option<u64>,
    /// Whether a complete list lacks the node.
    pub absent: bool,
}

/// A closed node is kept closed. An opened one is opened once: whoever closes it in the cluster itself afterwards has a
/// reason of their own. Of a node that seems to be gone the engine is asked once more: only it knows, and if it is there
/// after all, the step does what was asked.
pub fn plan(node: &str, asked: Cordon, known: Known) -> Option<StepRequest> {
    let done = known.done.is_some_and(|generation| generation >= asked.generation);
    let undone_since = asked.cordoned && known.cordoned == Some(false);
    (!done || undone_since || known.absent).then(|| StepRequest {
        generation: asked.generation,
        traceparent: None,
        not_after: None,
        step: Step::Cordon { node: node.to_owned(), cordoned: asked.cordoned },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_node_is_kept_closed_and_an_opened_one_is_opened_once() {
        let cases = [
            (true, None, None, true),
            (true, Some(7), Some(true), false),
            (true, Some(7), None, false),
            (true, Some(7), Some(false), true),
            (true, Some(6), Some(true), true),
            (false, None, Some(true), true),
            (false, Some(7), Some(true), false),
            (false, Some(7), Some(false), false),
        ];
        for (cordoned, done, seen, expected) in cases {
            let asked = Cordon { cordoned, generation: 7 };
            let step = plan("n1", asked, Known { cordoned: seen, done, absent: false });
            assert_eq!(step.is_some(), expected, "{asked:?} {done:?} {seen:?}");
            assert!(plan("n1", asked, Known { cordoned: None, done, absent: true }).is_some());
            assert!(step.is_none_or(|s| s.generation == 7));
        }
    }
}
