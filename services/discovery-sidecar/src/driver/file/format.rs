//! The texts that other programs read, beside the JSON that has everything. Pure.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use super::row::{Document, Header};

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `/etc/hosts` and resolvers that read files like it.
    Hosts,
    /// For `include` inside `http` or `stream` of nginx: a group of servers for each name.
    Nginx,
}

impl Format {
    /// What its file ends with.
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Nginx => "nginx.conf",
        }
    }

    pub(super) fn render(self, document: &Document) -> String {
        let mut text = head(&document.header);
        match self {
            Self::Hosts => {
                for row in &document.entries {
                    text.push_str(&format!("{}\t{}\n", row.address, row.name));
                }
            }
            Self::Nginx => groups(&mut text, document),
        }
        text
    }
}

/// Nginx has no group without servers, and no server without a port.
fn groups(text: &mut String, document: &Document) {
    let mut open: Option<&str> = None;
    let served = document.entries.iter().filter(|row| row.port != 0);
    for (row, address) in served.filter_map(|row| Some((row, row.address.parse::<IpAddr>().ok()?))) {
        if open != Some(&row.name) {
            text.push_str(if open.is_some() { "}\n" } else { "" });
            text.push_str(&format!("upstream {} {{\n", row.name));
            open = Some(&row.name);
        }
        let how = if row.weight == 0 { "down".to_owned() } else { format!("weight={}", row.weight) };
        // Writing into a text does not fail.
        let _ = writeln!(text, "    server {} {how};", SocketAddr::new(address, row.port));
    }
    text.push_str(if open.is_some() { "}\n" } else { "" });
}

const MARK: &str = "# bcs owner=";

fn head(header: &Header) -> String {
    format!("{MARK}{} epoch={} generation={}\n", header.owner, header.epoch, header.generation)
}

/// Whether a text was written by this owner.
pub(super) fn is_ours(text: &str, owner: &str) -> bool {
    let mark = text.lines().next().and_then(|line| line.strip_prefix(MARK));
    mark.and_then(|rest| rest.split(' ').next()) == Some(owner)
}

#[cfg(test)]
mod tests {
    use super::{
        super::row::{Row, row},
        *,
    };

    fn document(entries: Vec<Row>) -> Document {
        Document::of(Header { owner: "o".into(), epoch: 3, generation: 7 }, entries)
    }

    #[test]
    fn hosts_have_a_line_for_each_instance() {
        let hosts = Format::Hosts.render(&document(vec![row("web", 2), row("api", 9), row("web", 1)]));
        assert_eq!(
            hosts,
            "# bcs owner=o epoch=3 generation=7\n10.0.0.9\tapi.shop.bcs.local\n10.0.0.1\tweb.shop.bcs.local\n10.0.0.2\tweb.shop.bcs.local\n"
        );
        assert!(is_ours(&hosts, "o") && !is_ours(&hosts, "p") && !is_ours("127.0.0.1 x", "o"));
    }

    #[test]
    fn nginx_has_a_group_for_each_name_that_serves() {
        let (mut idle, mut mute, mut sixth) = (row("web", 3), row("job", 4), row("web", 5));
        (idle.weight, mute.port, sixth.address) = (0, 0, "2001:db8::5".to_owned());
        let text = Format::Nginx.render(&document(vec![idle, mute, sixth, row("web", 1), row("api", 9)]));
        let expected = "# bcs owner=o epoch=3 generation=7\n\
             upstream api.shop.bcs.local {\n    server 10.0.0.9:8080 weight=100;\n}\n\
             upstream web.shop.bcs.local {\n    server 10.0.0.1:8080 weight=100;\n    server 10.0.0.3:8080 down;\n    \
             server [2001:db8::5]:8080 weight=100;\n}\n";
        assert_eq!(text, expected);
        assert_eq!(Format::Nginx.render(&document(vec![])), "# bcs owner=o epoch=3 generation=7\n");
    }
}
