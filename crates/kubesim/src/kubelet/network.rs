//! Addresses for pods: every pod has one of its own in the network of its cluster, which is one of loopback unless told otherwise.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, TcpListener},
};

/// A block of IPv4 addresses that are nobody's on the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodNetwork {
    base: u32,
    prefix: u8,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a network such as 127.20.0.0/16 inside 127.0.0.0/8, or 10.7.1.0/24 inside a private one (/9 to /28)"
)]
pub struct ParseError(String);

impl std::str::FromStr for PodNetwork {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(9..=28).contains(&prefix) {
            return Err(wrong());
        }
        let base = u32::from(address) & (u32::MAX << (32 - prefix));
        let ends = [base, base + ((1 << (32 - prefix)) - 1)].map(Ipv4Addr::from);
        let inside = |own: fn(&Ipv4Addr) -> bool| ends.iter().all(own);
        if inside(Ipv4Addr::is_loopback) || inside(Ipv4Addr::is_private) {
            Ok(Self { base, prefix })
        } else {
            Err(wrong())
        }
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

    /// Whether pods can listen there: all of it is of this machine, or nothing is.
    pub(crate) fn try_listening(self) -> io::Result<()> {
        TcpListener::bind((Ipv4Addr::from(self.base + 1), 0)).map(drop)
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        // As everywhere, the first address names the network.
        (1..self.size()).contains(&offset)
    }

    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// How many addresses there are for pods.
    fn usable(self) -> usize {
        let ends =
            |last: u32| (0..self.size().min(256)).filter(|offset| (self.base + offset) & 255 == last).count();
        let blocks = usize::try_from(self.size().div_ceil(256)).unwrap_or(usize::MAX);
        let each = usize::try_from(self.size().min(256)).unwrap_or(256);
        blocks * (each - ends(0) - ends(255))
    }
}

/// Hands out addresses in turn, so that an address rests as long as possible before it is used again.
pub(crate) struct Pool {
    network: PodNetwork,
    used: HashSet<Ipv4Addr>,
    /// So many more can be taken: who asks when there are none is told so at once, however large the network is.
    left: usize,
    next: u32,
}

/// The ends of a block of 256 name networks elsewhere, and are left alone.
fn usable(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[3], 0 | 255)
}

impl Pool {
    pub(crate) fn new(network: PodNetwork) -> Self {
        Self { network, used: HashSet::new(), left: network.usable(), next: 1 }
    }

    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        if self.left == 0 {
            return None;
        }
        for _ in 0..self.network.size() {
            let offset = self.next;
            self.next = (self.next + 1) % self.network.size();
            let address = Ipv4Addr::from(self.network.base + offset);
            if usable(address) && self.claim(address) {
                return Some(address);
            }
        }
        None
    }

    /// Takes one certain address, unless somebody has it.
    pub(crate) fn claim(&mut self, address: Ipv4Addr) -> bool {
        let free = self.used.insert(address);
        self.left -= usize::from(free && usable(address));
        free
    }

    pub(crate) fn free(&mut self, address: Ipv4Addr) {
        let taken = self.used.remove(&address);
        self.left += usize::from(taken && usable(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_may_be_of_others_are_refused() {
        for (text, network) in [
            ("127.30.9.9/16", "127.30.0.0/16"),
            ("10.7.1.0/24", "10.7.1.0/24"),
            ("172.31.255.0/24", "172.31.255.0/24"),
            ("192.168.7.16/28", "192.168.7.16/28"),
        ] {
            assert_eq!(text.parse::<PodNetwork>().expect(text).to_string(), network);
        }
        for text in
            ["8.8.8.0/24", "172.0.0.0/9", "192.168.0.0/9", "127.0.0.0/8", "127.0.0.0", "10.7.1.0/32", "x/16"]
        {
            let error = text.parse::<PodNetwork>().expect_err(text).to_string();
            assert!(error.contains(text) && error.contains("such as"), "{error}");
        }
    }

    #[test]
    fn a_pool_never_gives_an_address_twice() {
        let mut pool = Pool::new("127.30.0.0/28".parse().expect("network"));
        let all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(all.len(), 15);
        assert_eq!(pool.left, 0);
        pool.free(all[3]);
        assert_eq!(pool.take(), Some(all[3]));
        for (network, usable) in [
            ("127.30.0.0/16", 256 * 254),
            ("127.30.1.0/24", 254),
            ("127.30.1.240/28", 15),
            ("127.30.1.16/28", 16),
        ] {
            let mut pool = Pool::new(network.parse().expect("network"));
            assert_eq!(
                (pool.left, std::iter::from_fn(|| pool.take()).count()),
                (usable, usable),
                "{network}"
            );
        }
    }
}
