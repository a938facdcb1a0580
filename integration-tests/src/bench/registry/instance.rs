//! Instances as benchmarks number them: an address, a name and an application follow from the number, so that an outside
//! client who finds an address knows whose it is.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr};

/// Who writes an instance into a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bench) enum Side {
    Ours,
    ByHand,
}

/// An application; the sides have applications of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bench) struct App {
    side: Side,
    number: u32,
}

/// An instance of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bench) struct Instance {
    pub(in crate::bench) number: u32,
    pub(in crate::bench) app: App,
}

/// Where addresses begin: below lie those of servers.
const FIRST: u32 = u32::from_be_bytes([127, 16, 0, 0]);
/// Addresses of instances that are written by hand lie so far above.
const BY_HAND: u32 = 1 << 22;
/// What every one of them serves.
pub(in crate::bench) const PORT: u16 = 8080;

impl App {
    /// All of a side.
    pub(in crate::bench) fn all(side: Side, count: u32) -> BTreeSet<Self> {
        (0..count).map(|number| Self { side, number }).collect()
    }

    /// As registries call it that put the project behind: `web-3.shop`.
    pub(in crate::bench) fn dotted(self) -> String {
        format!("{self}.shop")
    }

    /// As registries of names call it.
    pub(in crate::bench) fn domain(self) -> String {
        format!("{self}.shop.bcs.local")
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.side {
            Side::Ours => "web",
            Side::ByHand => "hand",
        };
        write!(f, "{name}-{}", self.number)
    }
}

impl Instance {
    /// The applications get their instances in turn.
    pub(in crate::bench) fn new(side: Side, number: u32, apps: u32) -> Self {
        let app = App { side, number: number % apps };
        match side {
            Side::Ours => Self { number, app },
            Side::ByHand => Self { number: number + BY_HAND, app },
        }
    }

    /// Of loopback, as all traffic is.
    pub(in crate::bench) fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(FIRST + self.number)
    }

    /// Which one has this address.
    pub(in crate::bench) fn at(address: Ipv4Addr) -> Option<u32> {
        u32::from(address).checked_sub(FIRST)
    }

    /// What tells it from all others.
    pub(in crate::bench) fn uid(self) -> String {
        format!("uid-{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_whose_it_is_and_the_sides_have_none_in_common() {
        for number in [0, 255, 256, 100_000, BY_HAND - 1] {
            let (ours, theirs) =
                (Instance::new(Side::Ours, number, 7), Instance::new(Side::ByHand, number, 7));
            for one in [ours, theirs] {
                assert_eq!(Instance::at(one.address()), Some(one.number));
                assert!(one.address().is_loopback());
            }
            assert!(ours.number < BY_HAND && theirs.number >= BY_HAND && ours.app != theirs.app);
        }
        assert_eq!(Instance::at(Ipv4Addr::LOCALHOST), None);
    }
}
