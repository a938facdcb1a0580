//! Lists in parts: who reads a large collection page by page holds neither it nor its lock as a whole.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use serde_json::Value;

use super::Store;
use crate::{
    kind::Kind,
    object::{self, Key},
    status::Status,
};

/// Some objects of a list, in order.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub version: u64,
    pub objects: Vec<Arc<Value>>,
    /// How many come behind them.
    pub left: usize,
}

impl Store {
    /// At most `limit` objects of a namespace, or of all when it is empty, that come behind a key; as of now, or as of an older version,
    /// if that is still known.
    pub(crate) fn part(
        &self,
        kind: &Kind,
        namespace: &str,
        at: Option<u64>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Part, Status> {
        let inner = self.read();
        let version = at.unwrap_or(inner.version);
        let Some(collection) = inner.collections.get(kind.id) else {
            return Ok(Part { version, ..Part::default() });
        };
        let first = Key::new(namespace, "");
        let from = after.map_or(Included(&first), Excluded);
        let within = |key: &Key| namespace.is_empty() || key.namespace == namespace;
        // What changed since is shown as it was: the oldest state that a change found counts.
        let mut past: BTreeMap<Key, Option<Arc<Value>>> = BTreeMap::new();
        for event in collection.history.since(version)?.iter().rev() {
            let key = Key::of(&event.object);
            if within(&key) && after.is_none_or(|after| key > *after) {
                past.insert(key, event.previous.clone());
            }
        }
        let now = collection.objects.range((from, Unbounded)).take_while(|(key, _)| within(key));
        let mut now = now.filter(|(key, _)| past.is_empty() || !past.contains_key(key)).map(|(_, o)| o);
        let mut objects: Vec<Arc<Value>> = now.by_ref().take(limit).map(Arc::clone).collect();
        let mut left = now.count();
        if !past.is_empty() {
            objects.extend(past.into_values().flatten());
            objects.sort_by(|a, b| place(a).cmp(&place(b)));
            left += objects.len().saturating_sub(limit);
            objects.truncate(limit);
        }
        Ok(Part { version, objects, left })
    }
}

fn place(object: &Value) -> (&str, &str) {
    (object::namespace(object), object::name(object))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{kind, kinds::Kinds, store::DeleteOptions};

    #[derive(Debug, Clone)]
    enum Step {
        Write(u8, u8),
        Delete(u8, u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..2_u8, 0..9_u8).prop_map(|(place, name)| Step::Write(place, name)),
            (0..2_u8, 0..9_u8).prop_map(|(place, name)| Step::Delete(place, name)),
        ];
        proptest::collection::vec(step, 0..30)
    }

    fn take(store: &Store, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            let (Step::Write(place, name) | Step::Delete(place, name)) = step;
            let key = Key::new(&format!("n{place}"), &format!("c{name}"));
            match step {
                Step::Write(..) if store.get(&kind::CONFIG_MAPS, &key).is_some() => {
                    let change = |seen: &Value| {
                        let mut value = seen.clone();
                        object::set(&mut value, &["data", "step"], json!(number.to_string()));
                        Ok(Some(value))
                    };
                    store.update(&kind::CONFIG_MAPS, &key, change).expect("changed");
                }
                Step::Write(..) => {
                    let object = json!({"metadata": {"namespace": key.namespace, "name": key.name}});
                    store.create(&kind::CONFIG_MAPS, object).expect("made");
                }
                Step::Delete(..) => drop(store.delete(&kind::CONFIG_MAPS, &key, &DeleteOptions::default())),
            }
        }
    }

    proptest! {
        #[test]
        fn parts_of_one_moment_make_its_whole_list_whatever_changes_in_between(
            before in steps(), between in proptest::collection::vec(steps(), 0..6), limit in 1..5_usize, place in 0..3_usize,
        ) {
            let store = Store::new(Kinds::default(), 0, Vec::new());
            for name in ["n0", "n1"] {
                store.create(&kind::NAMESPACES, json!({"metadata": {"name": name}})).expect("made");
            }
            take(&store, &before);
            let place = ["", "n0", "n1"][place];
            let whole = store.list(&kind::CONFIG_MAPS, place);
            let (mut found, mut after, mut turns) = (Vec::new(), None, between.iter());
            loop {
                let at = after.as_ref().map(|_| whole.version);
                let part = store.part(&kind::CONFIG_MAPS, place, at, after.as_ref(), limit).expect("known");
                prop_assert_eq!(part.version, whole.version);
                found.extend(part.objects);
                prop_assert_eq!(part.left, whole.objects.len() - found.len());
                let Some(last) = found.last().filter(|_| part.left > 0) else { break };
                after = Some(Key::of(last));
                take(&store, turns.next().map_or(&[], Vec::as_slice));
            }
            prop_assert_eq!(found, whole.objects);
        }
    }
}
