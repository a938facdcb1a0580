use std::collections::BTreeMap;

use nkeys::KeyPairType;
use proptest::prelude::*;

use super::*;

const SUBJECT: &str = "bcs.cmd.deploy.local.demo.app.shop-web.scale";
const PAYLOAD: &[u8] = br#"{"replicas": 8}"#;
const ISSUED: i64 = 1_795_521_600;

/// A command as parts that can be changed one by one.
#[derive(Clone, Debug)]
struct Parts {
    subject: String,
    headers: BTreeMap<&'static str, String>,
    payload: Vec<u8>,
}

impl Parts {
    fn map(&self) -> HeaderMap {
        bus::headers(self.headers.iter().map(|(name, value)| (*name, value.clone())).collect())
    }

    fn covered<'a>(&'a self, map: &'a HeaderMap) -> Covered<'a> {
        Covered { subject: &self.subject, headers: Some(map), payload: &self.payload }
    }

    fn fits(&self, claim: &Claim) -> bool {
        claim.fits(&self.covered(&self.map()))
    }
}

fn pair() -> KeyPair {
    KeyPair::new_from_raw(KeyPairType::User, [7; 32]).expect("a key")
}

/// Every covered header is there.
fn full() -> Parts {
    let headers = [
        (header::MESSAGE_ID, "01a204e6-f4d8-77e9-863b-5c8fe72045b7"),
        (header::TYPE, "bcs.deploy.app.scale.v1"),
        (header::CONTENT_TYPE, "application/json"),
        (header::MODE, "apply"),
        (header::EXPECTED_REVISION, "17"),
        (header::NOT_AFTER, "2026-11-24T13:00:00Z"),
        (header::ACTOR, "ada"),
        (header::CORRELATION, "01a204e6-f4d8-77e9-863b-5c8fe72045b0"),
    ];
    Parts {
        subject: SUBJECT.to_owned(),
        headers: headers.map(|(name, value)| (name, value.to_owned())).into(),
        payload: PAYLOAD.to_vec(),
    }
}

fn signed(parts: &Parts) -> Claim {
    Claim::sign(&pair(), &parts.covered(&parts.map()), ISSUED, ISSUED + 300).expect("signs")
}

#[test]
fn a_claim_fits_its_command_and_reads_back() {
    let claim = signed(&full());
    assert!(full().fits(&claim));
    assert_eq!(claim.to_string().parse(), Ok(claim));
}

/// The form is a contract with programs in other languages, and the page for them shows this very claim.
#[test]
fn the_claim_of_the_documentation_is_the_one_that_is_made() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bus.md")).expect("the page");
    let mut parts = full();
    parts.headers.retain(|name, _| [header::MESSAGE_ID, header::CONTENT_TYPE, header::ACTOR].contains(name));
    let claim = signed(&parts);
    let text = parts.covered(&parts.map()).text(&claim.key, claim.issued, claim.expires).expect("a text");
    assert_eq!(text[0], 0xff, "no text in UTF-8");
    let text = String::from_utf8(text[1..].to_vec()).expect("UTF-8 from there on");
    for shown in [pair().seed().expect("a seed"), text, claim.to_string()] {
        assert!(page.contains(&shown), "docs/bus.md should show\n{shown}");
    }
}

#[test]
fn a_header_that_is_added_or_taken_away_is_noticed() {
    let claim = signed(&full());
    for name in HEADERS {
        let mut parts = full();
        parts.headers.remove(name);
        assert!(!parts.fits(&claim), "without {name}");
        assert!(!full().fits(&signed(&parts)), "with {name}");
    }
}

#[test]
fn what_holds_a_control_character_is_not_signed_and_fits_nothing() {
    for name in [header::ACTOR, header::NOT_AFTER] {
        let mut parts = full();
        let mut map = parts.map();
        map.insert(name, "ada\u{85}bcs-mode=plan");
        let refused = Claim::sign(&pair(), &parts.covered(&map), ISSUED, ISSUED + 300);
        assert_eq!(refused, Err(SignError::Text(ControlCharacter(name))));
        assert!(!signed(&parts).fits(&parts.covered(&map)));
        parts.subject.push('\n');
        assert!(!parts.fits(&signed(&full())));
    }
}

#[test]
fn what_is_no_claim_is_refused_with_the_form_that_was_expected() {
    let right = signed(&full()).to_string();
    let (head, signature) = right.rsplit_once('.').expect("has dots");
    let key = pair().public_key();
    let seed = pair().seed().expect("a seed");
    for (text, words) in [
        (String::new(), "has 1 parts"),
        ("v1".to_owned(), "has 1 parts"),
        (right.replacen("v1", "v2", 1), "another version"),
        (head.to_owned(), "has 4 parts"),
        (format!("{right}."), "has 6 parts"),
        (format!("{right}{}", "A".repeat(200)), "bytes"),
        (right[..right.len() - 1].to_owned(), "no signature"),
        (format!("{head}."), "no signature"),
        (format!("{head}.{}+", &signature[1..]), "no signature"),
        (format!("{right}=="), "no signature"),
        (right.replacen(&key, &key.to_lowercase(), 1), "no public key"),
        (right.replacen(&key, &key[..50], 1), "no public key"),
        (right.replacen(&key, &seed[..56], 1), "no public key"),
        (right.replacen(&ISSUED.to_string(), "soon", 1), "no instant of issue"),
        (right.replacen(&ISSUED.to_string(), "-1", 1), "no instant of issue"),
        (right.replacen(&ISSUED.to_string(), "+1795521600", 1), "no instant of issue"),
        (right.replacen(&(ISSUED + 300).to_string(), "99999999999999999999", 1), "no instant of expiry"),
        (right.replacen(&(ISSUED + 300).to_string(), "1e9", 1), "no instant of expiry"),
    ] {
        let error = text.parse::<Claim>().expect_err(&text);
        assert!(error.contains(words) && error.contains("expected v1.<public key>"), "{text}: {error}");
        assert!(!error.contains(&seed[..20]), "{error}");
    }
}

/// One bit of one byte turned, so that it is still a text.
fn turned(text: &str, at: usize) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = at % chars.len();
    chars[at] = if chars[at] == 'x' { 'y' } else { 'x' };
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn any_changed_byte_of_what_is_covered_is_noticed(part in 0..HEADERS.len() + 2, at: usize, bit in 0..8_u8) {
        let mut parts = full();
        match part.checked_sub(2).map(|place| HEADERS[place]) {
            Some(name) => {
                let value = turned(&parts.headers[name], at);
                parts.headers.insert(name, value);
            }
            None if part == 0 => parts.subject = turned(&parts.subject, at),
            None => {
                let at = at % parts.payload.len();
                parts.payload[at] ^= 1 << bit;
            }
        }
        prop_assert!(!parts.fits(&signed(&full())));
    }

    #[test]
    fn any_changed_byte_of_a_claim_is_noticed(at: usize, with in "[A-Za-z0-9_.-]") {
        let right = signed(&full()).to_string();
        let at = at % right.len();
        prop_assume!(right[at..=at] != with);
        let changed = format!("{}{with}{}", &right[..at], &right[at + 1..]);
        prop_assert!(!changed.parse::<Claim>().is_ok_and(|claim| full().fits(&claim)));
    }

    #[test]
    fn no_text_is_taken_for_a_claim_by_accident(text: String) {
        prop_assert!(text.parse::<Claim>().is_err());
    }

    #[test]
    fn parts_never_run_into_each_other(actor in "[ -~]{0,12}", revision in "[ -~]{0,12}", other in "[ -~]{0,12}") {
        let mut parts = full();
        parts.headers.insert(header::ACTOR, actor.clone());
        parts.headers.insert(header::EXPECTED_REVISION, revision.clone());
        let mut moved = parts.clone();
        moved.headers.insert(header::ACTOR, revision + &other);
        moved.headers.insert(header::EXPECTED_REVISION, other + &actor);
        let same = parts.headers == moved.headers;
        prop_assert_eq!(moved.fits(&signed(&parts)), same);
    }
}
