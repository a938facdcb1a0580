//! Single records, as an ExternalDNS and zone files spell them.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::text;

/// Kinds of records that can be kept for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// An alias.
    Cname,
    /// Who takes mail.
    Mx,
    /// Servers of a zone below.
    Ns,
    /// Where a service is.
    Srv,
    /// Text.
    Txt,
}

/// Every kind and its name.
const KINDS: [(Kind, &str); 7] = [
    (Kind::A, "A"),
    (Kind::Aaaa, "AAAA"),
    (Kind::Cname, "CNAME"),
    (Kind::Mx, "MX"),
    (Kind::Ns, "NS"),
    (Kind::Srv, "SRV"),
    (Kind::Txt, "TXT"),
];

impl Kind {
    /// The kind that is called so.
    pub fn of(called: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name)| *name == called).map(|(kind, _)| *kind)
    }

    /// What all of them are called, for people.
    pub fn all() -> String {
        KINDS.map(|(_, name)| name).join(", ")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = KINDS.iter().find(|(kind, _)| kind == self);
        f.pad(found.map_or("", |(_, name)| name))
    }
}

/// One record without its name. Names in it are in lower case and without a last dot; the root is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(String),
    /// Preference, and a host.
    Mx(u16, String),
    /// A server.
    Ns(String),
    /// Priority, weight, port and a host.
    Srv(u16, u16, u16, String),
    /// Strings of at most 255 bytes, one at least.
    Txt(Vec<Vec<u8>>),
}

impl Data {
    /// Reads one, as targets of ExternalDNS and zone files have it; or what was expected.
    pub fn read(kind: Kind, text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = |word: &str| word.parse::<u16>().ok();
        let read = match (kind, &words[..]) {
            (Kind::Txt, _) => return text::read(text).map(Self::Txt).map_err(|why| refusal(kind, text, why)),
            (Kind::A, [address]) => address.parse().ok().map(Self::A),
            (Kind::Aaaa, [address]) => address.parse().ok().map(Self::Aaaa),
            (Kind::Cname, [name]) => host(name).map(Self::Cname),
            (Kind::Ns, [name]) => host(name).map(Self::Ns),
            (Kind::Mx, [preference, name]) => {
                number(preference).zip(host(name)).map(|(preference, name)| Self::Mx(preference, name))
            }
            (Kind::Srv, [priority, weight, port, name]) => {
                let numbers = number(priority).zip(number(weight)).zip(number(port));
                let whole = numbers.zip(host(name));
                whole.map(|(((priority, weight), port), name)| Self::Srv(priority, weight, port, name))
            }
            _ => None,
        };
        let expected = match kind {
            Kind::A => "an IPv4 address",
            Kind::Aaaa => "an IPv6 address",
            Kind::Mx => "a preference and a host, such as 10 mail.example.org",
            Kind::Srv => "priority, weight, port and a host, such as 10 5 8080 web.example.org",
            _ => "a name such as web.example.org",
        };
        read.ok_or_else(|| refusal(kind, text, expected))
    }

    /// What kind it is of.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::A(_) => Kind::A,
            Self::Aaaa(_) => Kind::Aaaa,
            Self::Cname(_) => Kind::Cname,
            Self::Mx(..) => Kind::Mx,
            Self::Ns(_) => Kind::Ns,
            Self::Srv(..) => Kind::Srv,
            Self::Txt(_) => Kind::Txt,
        }
    }

    /// As zone files have it: names end in a dot, and no string is longer than one can be.
    pub fn content(&self) -> String {
        match self {
            Self::A(address) => address.to_string(),
            Self::Aaaa(address) => address.to_string(),
            Self::Cname(name) | Self::Ns(name) => format!("{name}."),
            Self::Mx(preference, name) => format!("{preference} {name}."),
            Self::Srv(priority, weight, port, name) => format!("{priority} {weight} {port} {name}."),
            Self::Txt(strings) => text::write_parts(strings),
        }
    }

    /// As ExternalDNS has it: a text is one, however many strings it takes.
    pub fn target(&self) -> String {
        match self {
            Self::Txt(strings) => text::write(strings),
            // It wants the dot here.
            Self::Srv(..) => self.content(),
            Self::Mx(_, name) | Self::Cname(name) | Self::Ns(name) if name.is_empty() => self.content(),
            _ => self.content().trim_end_matches('.').to_owned(),
        }
    }
}

fn refusal(kind: Kind, text: &str, expected: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    format!("{shown:?} is no {kind} record: expected {expected}")
}

fn host(text: &str) -> Option<String> {
    if text == "." {
        return Some(String::new());
    }
    plain_name(text)
}

/// A name in lower case and without a last dot, if it consists of labels that can be told without escapes.
pub fn plain_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_*".contains(c);
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(plain);
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}
