//! Addresses for pods: every pod has one of its own in the loopback network of its cluster.

use std::{collections::HashSet, net::Ipv4Addr};

/// A block of IPv4 addresses below 127.0.0.0/8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodNetwork {
    base: u32,
    prefix: u8,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a network such as 127.20.0.0/16 inside 127.0.0.0/8")]
pub struct ParseError(String);

impl std::str::FromStr for PodNetwork {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !address.is_loopback() || !(9..=28).contains(&prefix) {
            return Err(wrong());
        }
        let mask = u32::MAX << (32 - prefix);
        Ok(Self { base: u32::from(address) & mask, prefix })
    }
}

impl std::fmt::Display for PodNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl PodNetwork {
    /// A /16 that other clusters and other processes on this machine probably do not use.
    pub(crate) fn pick(name: &str) -> Self {
        let seed = format!("{name}/{}", std::process::id());
        let hash = seed.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        let second = 20 + hash % 231;
        Self { base: (127 << 24) | (second << 16), prefix: 16 }
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        // As everywhere, the first address names the network.
        (1..self.size()).contains(&offset)
    }

    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }
}

/// Hands out addresses in turn, so that an address rests as long as possible before it is used again.
pub(crate) struct Pool {
    network: PodNetwork,
    used: HashSet<Ipv4Addr>,
    next: u32,
}

impl Pool {
    pub(crate) fn new(network: PodNetwork) -> Self {
        Self { network, used: HashSet::new(), next: 1 }
    }

    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        for _ in 0..self.network.size() {
            let offset = self.next;
            self.next = (self.next + 1) % self.network.size();
            let address = Ipv4Addr::from(self.network.base + offset);
            let usable = !matches!(address.octets()[3], 0 | 255);
            if usable && self.used.insert(address) {
                return Some(address);
            }
        }
        None
    }

    /// Takes one certain address, unless somebody has it.
    pub(crate) fn claim(&mut self, address: Ipv4Addr) -> bool {
        self.used.insert(address)
    }

    pub(crate) fn free(&mut self, address: Ipv4Addr) {
        self.used.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_outside_loopback_are_refused() {
        assert_eq!("127.30.9.9/16".parse::<PodNetwork>().expect("network").to_string(), "127.30.0.0/16");
        for text in ["10.0.0.0/16", "127.0.0.0/8", "127.0.0.0", "x/16"] {
            assert!(text.parse::<PodNetwork>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pool_never_gives_an_address_twice() {
        let mut pool = Pool::new("127.30.0.0/28".parse().expect("network"));
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(all.len(), 15);
        pool.free(all[3]);
        assert_eq!(pool.take(), Some(all[3]));
    }
}
