//! Transactions: a batch of changes as compares and operations, and what a refused one says about each change.

use etcd_client::{Compare, CompareOp, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::{
    layout::{SkyDns, owner_of},
    session::{Fence, number, unsigned},
};
use crate::domain::{Change, Failure, Outcome};

/// All or nothing: the epoch is ours and every entry is what was last seen of it.
pub(super) fn build(layout: &SkyDns, fence: &Fence, changes: &[Change]) -> Result<Txn, Failure> {
    let mut compares = vec![Compare::mod_revision(fence.key.as_str(), CompareOp::Equal, fence.revision)];
    let (mut writes, mut looks) = (Vec::new(), vec![TxnOp::get(fence.key.as_str(), None)]);
    for change in changes {
        let key = &**change.place();
        compares.push(match change.expects() {
            None => Compare::create_revision(key, CompareOp::Equal, 0),
            Some(version) => Compare::mod_revision(key, CompareOp::Equal, signed(version)),
        });
        writes.push(match change {
            Change::Put { entry, .. } => {
                let value = layout.value(entry).map_err(|e| Failure::Rejected(e.to_string()))?;
                TxnOp::put(key, value, None)
            }
            Change::Remove { .. } => TxnOp::delete(key, None),
        });
        looks.push(TxnOp::get(key, None));
    }
    Ok(Txn::new().when(compares).and_then(writes).or_else(looks))
}

/// Which of the compares failed, by what was found.
pub(super) fn refused(
    layout: &SkyDns,
    fence: &Fence,
    changes: &[Change],
    answer: &TxnResponse,
) -> Result<Vec<Outcome>, Failure> {
    let looks = answer.op_responses();
    let mut found = looks.iter().map(|look| match look {
        TxnOpResponse::Get(get) => get.kvs().first(),
        _ => None,
    });
    let epoch = found.next().flatten();
    if epoch.is_none_or(|kv| kv.mod_revision() != fence.revision) {
        return Err(fence.lost(epoch.map_or(0, |kv| number(kv.value()))));
    }
    Ok(changes.iter().zip(found).map(|(change, kv)| outcome(layout, change, kv)).collect())
}

fn outcome(layout: &SkyDns, change: &Change, found: Option<&KeyValue>) -> Outcome {
    let key = &**change.place();
    match (change.expects(), found) {
        (None, None) => Outcome::Again,
        (Some(version), Some(kv)) if unsigned(kv.mod_revision()) == version => Outcome::Again,
        (Some(_), None) => Outcome::Differs(None),
        (_, Some(kv)) => match layout.item(key, kv.value(), unsigned(kv.mod_revision())) {
            Some(item) => Outcome::Differs(Some(item)),
            None => Outcome::Foreign(format!(
                "key {key} belongs to {}, expected it to be free or ours",
                owner_of(kv.value())
            )),
        },
    }
}

pub(super) fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
