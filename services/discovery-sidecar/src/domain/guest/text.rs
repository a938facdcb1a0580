//! Texts (TXT): bytes in quotes, with backslashes before what could not stand there, as zone files have them.

use std::fmt::Write;

/// A string of a TXT record holds no more bytes.
const STRING: usize = 255;

/// Strings of a text. Without quotes it is one as it stands, spaces included.
pub(super) fn read(text: &str) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut rest = text.trim().as_bytes();
    if rest.first() != Some(&b'"') {
        return Ok(split(text.as_bytes()));
    }
    let mut strings = Vec::new();
    while let Some(after) = rest.strip_prefix(b"\"") {
        let (string, after) = quoted(after)?;
        strings.extend(split(&string));
        let spaces = after.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        rest = &after[spaces..];
    }
    if rest.is_empty() {
        Ok(strings)
    } else {
        Err("nothing behind the last quote but another string in quotes")
    }
}

/// The bytes up to the next quote, and what follows it.
fn quoted(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let mut string = Vec::new();
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Ok((string, after)),
            [b'\\', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..] => {
                let number = [a, b, c].iter().fold(0_u16, |all, digit| all * 10 + u16::from(**digit - b'0'));
                string.push(u8::try_from(number).map_err(|_| "no number above 255 behind a backslash")?);
                after
            }
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                string.push(*byte);
                after
            }
            [] => return Err("a quote at the end"),
        };
    }
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.is_empty() {
        return vec![Vec::new()];
    }
    bytes.chunks(STRING).map(<[u8]>::to_vec).collect()
}

/// In one pair of quotes if reading that gives the same strings, else each in its own.
pub(super) fn write(strings: &[Vec<u8>]) -> String {
    let whole = strings.concat();
    if split(&whole) == strings { quote(&whole) } else { write_parts(strings) }
}

/// Each string in its own quotes.
pub(super) fn write_parts(strings: &[Vec<u8>]) -> String {
    strings.iter().map(|string| quote(string)).collect::<Vec<_>>().join(" ")
}

fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\{byte:03}");
            }
        }
    }
    text.push('"');
    text
}

/// The owner that a text of ExternalDNS names, if it is one and can be read.
pub fn heritage(text: &str) -> Option<String> {
    let mut words = text.split(',').filter_map(|word| word.split_once('='));
    words.clone().any(|word| word == ("heritage", "external-dns")).then_some(())?;
    words.find(|(key, _)| *key == "external-dns/owner").map(|(_, owner)| owner.to_owned())
}
