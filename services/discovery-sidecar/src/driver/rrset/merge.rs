//! What a record set becomes by changes, and which of them it refuses. Pure.

use super::{Comment, Mark, Record, RrSet, Spelling, parts};
use crate::domain::{Change, Outcome};

/// The record set as it should be, and one outcome per change. What others have in it stays as it is; as long as they have
/// records there, ours only go.
pub(in crate::driver) fn merge(
    spelling: &Spelling,
    found: &RrSet,
    changes: &[&Change],
) -> (RrSet, Vec<Outcome>) {
    let mut marks: Vec<Mark> = Vec::new();
    let mut others: Vec<Comment> = Vec::new();
    for comment in &found.comments {
        match comment.mark().filter(|mark| mark.owner == spelling.owner) {
            Some(mark) => marks.push(mark),
            None => others.push(comment.clone()),
        }
    }
    let foreign: Vec<Record> =
        found.records.iter().filter(|r| !marks.iter().any(|m| r.is(m.address))).cloned().collect();
    let refusal = whose(found, &others, &foreign);
    let mut ttl = found.ttl;
    let outcomes = changes.iter().map(|change| match (change, &refusal) {
        (Change::Put { .. }, Some(words)) => Outcome::Foreign(words.clone()),
        (Change::Put { entry, .. }, None) => {
            ttl = entry.ttl;
            let mark = spelling.mark(entry);
            match marks.iter_mut().find(|m| m.id == mark.id) {
                Some(held) => *held = mark,
                None => marks.push(mark),
            }
            Outcome::Done(0)
        }
        (Change::Remove { place, .. }, _) => {
            let id = parts(place).map(|(_, _, id)| id);
            marks.retain(|mark| Some(mark.id.as_str()) != id);
            Outcome::Done(0)
        }
    });
    let outcomes = outcomes.collect();
    (render(found, ttl, foreign, &marks, others), outcomes)
}

fn render(found: &RrSet, ttl: u32, foreign: Vec<Record>, marks: &[Mark], others: Vec<Comment>) -> RrSet {
    let mut records = foreign;
    for mark in marks {
        // Two incarnations can have one address for a moment; a record is there once.
        if !records.iter().any(|record| record.is(mark.address)) {
            records.push(Record { content: mark.address.to_string(), disabled: false });
        }
    }
    let comments = others.into_iter().chain(marks.iter().map(Mark::comment)).collect();
    RrSet { name: found.name.clone(), kind: found.kind.clone(), ttl, records, comments }
}

/// Whether somebody else has records in the set; in words.
fn whose(found: &RrSet, others: &[Comment], foreign: &[Record]) -> Option<String> {
    let stranger = foreign.first()?;
    let whose = others.iter().filter_map(Comment::mark).find(|mark| stranger.is(mark.address));
    let whose =
        whose.map_or_else(|| "nobody that says so".to_owned(), |mark| format!("owner {:?}", mark.owner));
    Some(format!(
        "{} {} holds {}, which belongs to {whose}: expected a name that is free or ours alone",
        found.name, found.kind, stranger.content
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{Entry, Layout},
        testing,
    };

    fn spelling(platform: &str) -> Spelling {
        Spelling { owner: format!("{platform}.sim-a.dns"), keeps_ttl: true }
    }

    fn entry(number: u32) -> Entry {
        let endpoint = Arc::new(testing::endpoint("web", number));
        let (address, id) = (endpoint.addresses[0], format!("i{number}"));
        Entry {
            name: "web.shop.bcs.local".into(),
            id,
            address,
            port: 80,
            ttl: 30,
            metadata: Default::default(),
            endpoint,
        }
    }

    fn put(spelling: &Spelling, entry: Entry) -> Change {
        Change::Put { place: spelling.place(&entry), digest: spelling.digest(&entry), entry, over: None }
    }

    fn remove(spelling: &Spelling, number: u32) -> Change {
        Change::Remove { place: spelling.place(&entry(number)), version: 0 }
    }

    fn empty() -> RrSet {
        RrSet { name: "web.shop.bcs.local.".into(), kind: "A".into(), ..RrSet::default() }
    }

    fn contents(set: &RrSet) -> Vec<&str> {
        set.records.iter().map(|record| record.content.as_str()).collect()
    }

    fn with(spelling: &Spelling, numbers: &[u32]) -> RrSet {
        let puts: Vec<Change> = numbers.iter().map(|n| put(spelling, entry(*n))).collect();
        merge(spelling, &empty(), &puts.iter().collect::<Vec<_>>()).0
    }

    fn record(content: &str) -> Record {
        Record { content: content.into(), disabled: false }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_same_change_again_changes_nothing() {
        let ours = spelling("eu1");
        let set = with(&ours, &[1, 2]);
        assert_eq!((contents(&set), set.ttl), (vec!["10.0.0.1", "10.0.0.2"], 30));
        let items = ours.items(&set);
        for (item, number) in items.iter().zip([1, 2]) {
            let entry = entry(number);
            assert_eq!((&item.place, item.digest), (&ours.place(&entry), ours.digest(&entry)));
            assert_eq!((&*item.key, &*item.uid), (&*entry.key(), &*entry.endpoint.uid));
        }
        let again = merge(&ours, &set, &[&put(&ours, entry(1))]);
        assert_eq!(again, (set.clone(), vec![Outcome::Done(0)]));
        let (rest, _) = merge(&ours, &set, &[&remove(&ours, 1), &remove(&ours, 7)]);
        assert_eq!(contents(&rest), ["10.0.0.2"]);
        let (none, _) = merge(&ours, &rest, &[&remove(&ours, 2)]);
        assert!(none.records.is_empty() && none.comments.is_empty());
    }

    #[test]
    fn a_name_that_somebody_else_has_is_refused_and_whose_it_is_said() {
        let (ours, theirs) = (spelling("eu1"), spelling("eu2"));
        let by_hand = RrSet { records: vec![record("192.0.2.7")], ttl: 60, ..empty() };
        for (set, words) in
            [(by_hand, "nobody that says so"), (with(&theirs, &[9]), "owner \"eu2.sim-a.dns\"")]
        {
            let (after, outcomes) = merge(&ours, &set, &[&put(&ours, entry(1)), &remove(&ours, 1)]);
            assert!(
                matches!(&outcomes[..], [Outcome::Foreign(said), Outcome::Done(0)] if said.contains(words)),
                "{outcomes:?}"
            );
            assert_eq!((after, ours.items(&set)), (set, vec![]));
        }
    }

    #[test]
    fn what_is_added_by_hand_stays_when_ours_goes() {
        let ours = spelling("eu1");
        let mut set = with(&ours, &[1]);
        set.records.push(record("192.0.2.7"));
        set.comments.push(Comment { content: "ask Ann".into(), account: "ann".into(), modified_at: Some(7) });
        assert_eq!(ours.items(&set).len(), 1);
        let (after, outcomes) = merge(&ours, &set, &[&put(&ours, entry(2)), &remove(&ours, 1)]);
        assert!(matches!(&outcomes[..], [Outcome::Foreign(_), Outcome::Done(0)]), "{outcomes:?}");
        assert_eq!(contents(&after), ["192.0.2.7"]);
        assert_eq!(after.comments, set.comments[1..]);
    }

    #[test]
    fn a_record_that_was_taken_away_disabled_or_given_another_ttl_by_hand_is_noticed_and_repaired() {
        let ours = spelling("eu1");
        let good = with(&ours, &[1]);
        let mut disabled = good.clone();
        disabled.records[0].disabled = true;
        for bad in [RrSet { records: vec![], ..good.clone() }, disabled, RrSet { ttl: 5, ..good.clone() }] {
            let item = ours.items(&bad).remove(0);
            assert_ne!(item.digest, ours.digest(&entry(1)));
            assert_eq!(merge(&ours, &bad, &[&put(&ours, entry(1))]).0, good);
        }
    }

    #[test]
    fn an_address_that_two_incarnations_share_is_a_record_until_the_last_one_goes() {
        let ours = spelling("eu1");
        let twin = Entry { id: "twin".into(), ..entry(1) };
        let (both, _) = merge(&ours, &with(&ours, &[1]), &[&put(&ours, twin)]);
        assert_eq!((contents(&both), both.comments.len()), (vec!["10.0.0.1"], 2));
        let (one, _) = merge(&ours, &both, &[&remove(&ours, 1)]);
        assert_eq!((contents(&one), one.comments.len()), (vec!["10.0.0.1"], 1));
    }
}
