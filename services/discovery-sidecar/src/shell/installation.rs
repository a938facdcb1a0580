//! Which installation of BCS this is: an id that its bus keeps. A registry that others write to remembers which one has a
//! name there, and refuses a second one of the same name.

use bcs_kit::{Clock, bus, kv::Store};

/// In the bucket of leases.
const KEY: &str = "installation";

/// The id; made by the first sidecar that ever asked.
pub(crate) async fn id(leases: &Store<String>, clock: &Clock) -> Result<String, bus::Error> {
    if let Some((id, _)) = leases.get(KEY).await? {
        return Ok(id);
    }
    let fresh = clock.fresh_id().to_string();
    if leases.put_if(KEY, &fresh, 0).await?.is_some() {
        return Ok(fresh);
    }
    // Another sidecar was faster; or somebody deleted the key, and then there is none to keep.
    match leases.get(KEY).await? {
        Some((id, _)) => Ok(id),
        None => leases.put_at(KEY, &fresh).await.map(|_| fresh),
    }
}

/// Tells a bus that lost its memory who it was.
pub(crate) async fn remind(leases: &Store<String>, id: &String) -> Result<(), bus::Error> {
    match leases.get(KEY).await? {
        Some(_) => Ok(()),
        None => leases.put_if(KEY, id, 0).await.map(drop),
    }
}
