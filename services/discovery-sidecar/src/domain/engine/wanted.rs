//! What belongs into the registry now, for those who compare it with what is there.

use super::{super::survey::Wanted, Engine};

impl Engine {
    /// Everything that should be there, instance by instance.
    pub fn wanted(&self) -> Vec<Wanted> {
        let all = self.slots.iter().filter_map(|(place, slot)| {
            let digest = slot.want?;
            let endpoint = self.instances.get(&slot.key)?.endpoint.as_ref()?;
            let entry = self.settings.naming.entry(endpoint)?;
            Some(Wanted {
                place: place.clone(),
                called: entry.name.clone(),
                entry,
                digest,
                over: slot.seen.map(|seen| seen.version),
                refused: slot.fault.as_ref().map(|fault| fault.words.clone()),
            })
        });
        all.collect()
    }
}
