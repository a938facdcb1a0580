//! What every driver keeps that can take entries of others over: the same stories for each, against the real server. And the
//! door of the whole sidecar, through which people ask for it.

mod door;

use std::{cell::Cell, collections::BTreeSet, net::IpAddr};

use bcs_discovery_sidecar::{
    domain::{Adoption, Failure, Found, Outcome, Wanted, Whose, survey},
    driver::{Able, OwnerSlot},
};
use bcs_schemas::{
    adoption::{Pick, is_of},
    observation::Endpoint,
};

use crate::{
    contract::{Hand, Site},
    fixture::*,
};

/// A registry in which people kept a list by hand.
pub(crate) trait Kept: Site {
    /// Somebody writes this address under the name of the application.
    async fn keep(&self, address: IpAddr) {
        self.add_foreign(address).await;
    }

    /// And takes it out again.
    async fn unkeep(&self, address: IpAddr);

    /// Whose what is kept by hand says it is.
    fn from() -> Option<&'static str> {
        None
    }
}

fn address(number: u32) -> IpAddr {
    endpoint(number).addresses[0]
}

fn wanted(hand: &Hand, endpoint: Endpoint) -> Wanted {
    let entry = hand.entry(endpoint);
    Wanted {
        place: hand.driver.place(&entry),
        called: hand.driver.called(&entry),
        digest: hand.driver.digest(&entry),
        over: None,
        refused: None,
        entry,
    }
}

async fn found(hand: &Hand) -> Vec<Found> {
    hand.driver.survey().await.expect("is read")
}

/// What a person would be shown and say yes to.
async fn planned<S: Kept>(hand: &Hand, endpoints: &[Endpoint]) -> Vec<Adoption> {
    let (wanted, found): (Vec<_>, _) =
        (endpoints.iter().map(|e| wanted(hand, e.clone())).collect(), found(hand).await);
    let theirs = found.iter().filter(|found| !matches!(found.whose, Whose::Ours(_)));
    let theirs = theirs.filter(|found| wanted.iter().any(|w| Some(w.entry.address) == found.address));
    let picks: Vec<Pick> = theirs
        .filter_map(|found| Some(Pick { place: found.place.to_string(), address: found.address? }))
        .collect();
    assert_eq!(picks.len(), endpoints.len(), "{found:?}");
    let planned = survey::adoptions(&wanted, &found, &picks, S::from());
    planned.into_iter().map(|planned| planned.expect("can be adopted")).collect()
}

async fn sees(site: &impl Site, wanted: &[u32]) {
    let wanted: BTreeSet<IpAddr> = wanted.iter().map(|number| address(*number)).collect();
    wait_until(LONG, async || {
        let seen = site.addresses().await;
        if seen == wanted { Ok(()) } else { Err(format!("users see {seen:?}, expected {wanted:?}")) }
    })
    .await;
}

pub(crate) async fn what_people_kept_by_hand_becomes_ours_without_a_gap<S: Kept>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    site.keep(address(1)).await;
    sees(&site, &[1]).await;
    let planned = planned::<S>(&hand, &[endpoint(1)]).await;
    let (ended, looks) = (Cell::new(false), Cell::new(0));
    let adopt = async {
        tokio::task::yield_now().await;
        let outcomes = hand.driver.adopt(&planned).await;
        ended.set(true);
        outcomes
    };
    let look = async {
        // Once more when it has ended.
        loop {
            let last = ended.get();
            assert!(site.addresses().await.contains(&address(1)), "a gap after {} looks", looks.get());
            looks.set(looks.get() + 1);
            if last {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let (outcomes, ()) = tokio::join!(adopt, look);
    assert!(matches!(outcomes.as_deref(), Ok([Outcome::Done(_)])) && looks.get() > 1, "{outcomes:?}");
    sees(&site, &[1]).await;
    let items = hand.items().await;
    assert_eq!(items.len(), 1);
    assert_eq!((&items[0].place, items[0].digest), (&planned[0].wanted.place, planned[0].wanted.digest));
    // Other addresses, such as those of name servers, are nobody's business.
    let there = found(&hand).await.into_iter().filter(|found| found.address == Some(address(1)));
    assert!(there.map(|found| found.whose).all(|whose| matches!(whose, Whose::Ours(_))));
    // It is ours in every way.
    let change = bcs_discovery_sidecar::domain::Change::Remove {
        place: items[0].place.clone(),
        version: items[0].version,
    };
    hand.done(&[change]).await;
    sees(&site, &[]).await;
}

pub(crate) async fn what_went_since_it_was_shown_is_not_adopted<S: Kept>() {
    let site = S::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    site.keep(address(1)).await;
    let planned = planned::<S>(&hand, &[endpoint(1)]).await;
    site.unkeep(address(1)).await;
    let outcomes = hand.driver.adopt(&planned).await.expect("is answered");
    assert!(matches!(&outcomes[..], [Outcome::Foreign(_) | Outcome::Again]), "{outcomes:?}");
    assert_eq!(hand.items().await, []);
    sees(&site, &[]).await;
}

pub(crate) async fn a_replaced_sidecar_adopts_nothing<S: Kept>() {
    let site = S::start().await;
    let (old, new) = (Hand::of(&site), Hand::of(&site));
    old.fence(5).await;
    site.keep(address(1)).await;
    let planned = planned::<S>(&old, &[endpoint(1)]).await;
    new.fence(9).await;
    assert_eq!(old.driver.adopt(&planned).await, Err(Failure::Fenced(9)));
    assert_eq!(new.items().await, []);
    sees(&site, &[1]).await;
}

pub(crate) async fn what_an_installation_left_goes_and_nothing_of_others<S: Kept>() {
    let site = S::start().await;
    let (gone, new) = (Hand::of(&site), Hand::owned_by("eu2", &site));
    gone.fence(7).await;
    gone.done(&[gone.put(endpoint(1), None), gone.put(endpoint(2), None)]).await;
    new.fence(1).await;
    let shares = new.can().owner != OwnerSlot::Name;
    if shares {
        new.done(&[new.put(endpoint(3), None)]).await;
        site.keep(address(4)).await;
        sees(&site, &[1, 2, 3, 4]).await;
    }
    let theirs = |found: Vec<Found>| -> Vec<Found> {
        let its = |found: &Found| matches!(&found.whose, Whose::Other(owner) if is_of(owner, "eu1"));
        found.into_iter().filter(its).collect()
    };
    if let Able::No(_) = new.can().purges {
        let refused = new.driver.evict(&[]).await;
        assert!(
            matches!(&refused, Err(Failure::Rejected(words)) if words.contains(new.can().kind)),
            "{refused:?}"
        );
        return;
    }
    let all = theirs(found(&new).await);
    assert_eq!(all.len(), 2, "{all:?}");
    let outcomes = new.driver.evict(&all).await.expect("is answered");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))), "{outcomes:?}");
    sees(&site, if shares { &[3, 4] } else { &[] }).await;
    assert_eq!(theirs(found(&new).await), []);
    // Also what is ours, when that is wanted: the engine writes it again.
    if shares {
        let own = found(&new).await.into_iter().filter(|found| matches!(found.whose, Whose::Ours(_)));
        let outcomes = new.driver.evict(&own.collect::<Vec<_>>()).await.expect("is answered");
        assert!(matches!(&outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");
        sees(&site, &[4]).await;
        assert_eq!(new.items().await, []);
        new.done(&[new.put(endpoint(3), None)]).await;
    }
    // Gone is gone: a second time finds nothing, and says so.
    let again = new.driver.evict(&all).await.expect("is answered");
    assert!(again.iter().all(|outcome| matches!(outcome, Outcome::Foreign(_) | Outcome::Again)), "{again:?}");
    // The name is another installation's until its marks go.
    let heir = Hand::installed("another", &site);
    assert!(matches!(heir.driver.fence(1).await, Err(Failure::Unavailable(_))));
    let marks = new.driver.forget("eu1").await.expect("is answered");
    assert!(!marks.is_empty());
    heir.fence(1).await;
    // Ours hold all the same.
    assert_eq!(new.items().await.len(), usize::from(shares));
    new.done(&[new.put(Endpoint { app: name("api"), ..endpoint(5) }, None)]).await;
    assert_eq!(new.driver.forget("eu2").await.expect("is answered"), Vec::<String>::new(), "never our own");
}

pub(crate) async fn what_another_owner_has_is_shown_as_his<S: Kept>() {
    let site = S::start().await;
    let (ours, theirs) = (Hand::of(&site), Hand::owned_by("eu2", &site));
    ours.fence(1).await;
    theirs.fence(1).await;
    theirs.done(&[theirs.put(endpoint(1), None)]).await;
    let found = found(&ours).await;
    let its = found.iter().find(|found| found.address == Some(address(1))).expect("is shown");
    assert!(matches!(&its.whose, Whose::Other(owner) if owner != "eu1.sim-a.dns"), "{its:?}");
    let pick = Pick { place: its.place.to_string(), address: address(1) };
    let planned = survey::adoptions(&[wanted(&ours, endpoint(1))], &found, &[pick], None);
    assert!(planned[0].is_err(), "nobody takes it without saying whose it was");
}

/// `--from`: the entry of an owner who is gone.
pub(crate) async fn what_an_owner_left_is_taken_over_when_he_is_named<S: Kept>() {
    let site = S::start().await;
    let (ours, theirs) = (Hand::of(&site), Hand::owned_by("eu2", &site));
    ours.fence(1).await;
    theirs.fence(1).await;
    theirs.done(&[theirs.put(endpoint(1), None)]).await;
    let found = found(&ours).await;
    let its = found.iter().find(|found| found.address == Some(address(1))).expect("is shown").clone();
    let Whose::Other(owner) = &its.whose else { panic!("{its:?}") };
    let pick = Pick { place: its.place.to_string(), address: address(1) };
    let wanted = [wanted(&ours, endpoint(1))];
    let planned = survey::adoptions(&wanted, &found, &[pick], Some(owner)).remove(0).expect("can be taken");
    let outcomes = ours.driver.adopt(&[planned]).await.expect("is answered");
    assert!(matches!(&outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");
    sees(&site, &[1]).await;
    assert_eq!((ours.items().await.len(), theirs.items().await.len()), (1, 0));
    assert_eq!(ours.items().await[0].digest, wanted[0].digest);
}

/// The stories as tests of one driver.
macro_rules! stories {
    ($site:ty) => {
        $crate::adoption::stories!(
            $site:
            what_people_kept_by_hand_becomes_ours_without_a_gap,
            what_went_since_it_was_shown_is_not_adopted,
            a_replaced_sidecar_adopts_nothing,
            what_an_installation_left_goes_and_nothing_of_others,
            what_another_owner_has_is_shown_as_his,
            what_an_owner_left_is_taken_over_when_he_is_named,
        );
    };
    ($site:ty: $($story:ident,)+) => {
        mod adoption {
            $(
                #[tokio::test]
                async fn $story() {
                    $crate::adoption::$story::<$site>().await;
                }
            )+
        }
    };
}
pub(crate) use stories;
