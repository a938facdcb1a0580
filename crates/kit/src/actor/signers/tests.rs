use std::io::Write;

use async_nats::HeaderMap;
use bcs_schemas::outcome::{Rejection, RejectionCode};
use nkeys::KeyPair;
use tempfile::TempDir;

use super::*;
use crate::bus;

const SUBJECT: &str = "bcs.cmd.deploy.local.demo.app.shop-web.scale";
const TAKEN: i64 = 1_795_521_600;

/// A bus with a project, an operator and somebody who is neither.
struct World {
    _dir: TempDir,
    path: PathBuf,
    project: KeyPair,
    operator: KeyPair,
    stranger: KeyPair,
}

impl World {
    fn new(anonymous: bool) -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("actors.toml");
        let (project, operator, stranger) = (KeyPair::new_user(), KeyPair::new_user(), KeyPair::new_user());
        let world = Self { _dir: dir, path, project, operator, stranger };
        world.write(
            anonymous,
            &[("project-demo", &world.project, "demo"), ("operator", &world.operator, "*")],
        );
        world
    }

    fn write(&self, anonymous: bool, signers: &[(&str, &KeyPair, &str)]) {
        let signer = |(user, pair, scope): &(&str, &KeyPair, &str)| Signer {
            user: (*user).to_owned(),
            key: pair.public_key(),
            projects: vec![Scope::try_from((*scope).to_owned()).expect("a scope")],
        };
        let file = SignersFile { anonymous, signers: signers.iter().map(signer).collect() };
        fs::write(&self.path, file.text().expect("is written")).expect("writes");
    }

    fn signers(&self) -> Signers {
        Signers::open(&self.path).expect("opens")
    }
}

fn headers() -> HeaderMap {
    bus::headers(vec![
        (header::MESSAGE_ID, "01a204e6-f4d8-77e9-863b-5c8fe72045b7".to_owned()),
        (header::ACTOR, "ada".to_owned()),
    ])
}

fn command(headers: &HeaderMap) -> Covered<'_> {
    Covered { subject: SUBJECT, headers: Some(headers), payload: b"{}" }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn signed(pair: &KeyPair, mut headers: HeaderMap, (issued, expires): (i64, i64)) -> HeaderMap {
    let claim = Claim::sign(pair, &command(&headers), issued, expires).expect("signs");
    headers.insert(header::ACTOR_CLAIM, claim.to_string());
    headers
}

fn judged(signers: &Signers, headers: &HeaderMap, project: &str) -> Result<String, Refusal> {
    signers.judge(&command(headers), &name(project), TAKEN)
}

#[test]
fn an_actor_is_recorded_with_the_user_who_vouches_for_it() {
    let world = World::new(false);
    let signers = world.signers();
    let now = (TAKEN, TAKEN + 300);
    let headers = signed(&world.project, headers(), now);
    assert_eq!(judged(&signers, &headers, "demo").as_deref(), Ok("ada@project-demo"));
    // Whoever calls somebody by the name of another one is still the one who does.
    let mut cunning = super::tests::headers();
    cunning.insert(header::ACTOR, "ada@operator");
    let headers = signed(&world.project, cunning, now);
    assert_eq!(judged(&signers, &headers, "demo").as_deref(), Ok("ada@operator@project-demo"));
    let headers = signed(&world.operator, super::tests::headers(), now);
    assert_eq!(judged(&signers, &headers, "system").as_deref(), Ok("ada@operator"));
}

#[test]
fn whoever_asks_for_nobody_is_anonymous_where_that_is_allowed() {
    let nobody = HeaderMap::new();
    assert_eq!(judged(&World::new(true).signers(), &nobody, "demo").as_deref(), Ok("anonymous"));
    assert_eq!(judged(&World::new(false).signers(), &nobody, "demo"), Err(Refusal::Anonymous));
    assert_eq!(judged(&World::new(true).signers(), &headers(), "demo"), Err(Refusal::Missing));
}

#[test]
fn what_is_not_proved_is_refused_and_the_header_is_named() {
    let world = World::new(false);
    let signers = world.signers();
    let now = (TAKEN, TAKEN + 300);
    let without = |name: &str| {
        let mut headers = HeaderMap::new();
        for (other, value) in
            super::tests::headers().iter().filter(|(other, _)| other.as_ref() as &str != name)
        {
            headers.insert(other.clone(), value[0].clone());
        }
        headers
    };
    let mut copied = signed(&world.project, headers(), now);
    copied.insert(header::MESSAGE_ID, "01a204e6-f4d8-77e9-863b-5c8fe72045b8");
    let mut strange = headers();
    strange.insert(header::ACTOR_CLAIM, "let me in");
    let stranger = world.stranger.public_key();
    for (headers, project, words) in [
        (signed(&world.project, without(header::ACTOR), now), "demo", "speaks for nobody"),
        (signed(&world.project, without(header::MESSAGE_ID), now), "demo", "for no command in particular"),
        (signed(&world.stranger, headers(), now), "demo", stranger.as_str()),
        (copied, "demo", "does not fit this command"),
        (
            signed(&world.project, headers(), now),
            "system",
            "project-demo, who may not speak about project system",
        ),
        (strange, "demo", "has 1 parts: expected v1."),
    ] {
        let rejection = Rejection::from(judged(&signers, &headers, project).expect_err(words));
        let code = if words.contains("v1") { RejectionCode::Invalid } else { RejectionCode::Forbidden };
        assert_eq!(rejection.code, code, "{rejection}");
        assert!(
            rejection.message.starts_with(header::ACTOR_CLAIM) && rejection.message.contains(words),
            "{rejection}"
        );
        assert_eq!(rejection.fields[0].field, header::ACTOR_CLAIM);
    }
}

#[test]
fn time_is_that_of_the_bus() {
    let world = World::new(false);
    let signers = world.signers();
    for (issued, expires, refusal) in [
        (0, 1, None),
        (-300, 0, None),
        (30, 330, None),
        (-600, 0, None),
        (-301, -1, Some(Refusal::Expired { late: 1 })),
        (31, 331, Some(Refusal::Early { early: 31 })),
        (-1, 600, Some(Refusal::TooLong(601))),
        (0, 0, Some(Refusal::TooLong(0))),
        (0, -5, Some(Refusal::TooLong(-5))),
        (0, i64::MAX - TAKEN, Some(Refusal::TooLong(i64::MAX - TAKEN))),
    ] {
        let headers = signed(&world.project, headers(), (TAKEN + issued, TAKEN + expires));
        assert_eq!(judged(&signers, &headers, "demo").err(), refusal, "{issued} {expires}");
    }
}

#[test]
fn the_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let world = World::new(false);
    let signers = world.signers();
    let headers = |pair| signed(pair, headers(), (TAKEN, TAKEN + 300));
    assert!(judged(&signers, &headers(&world.stranger), "demo").is_err());
    world.write(false, &[("project-demo", &world.project, "demo"), ("newcomer", &world.stranger, "demo")]);
    assert_eq!(judged(&signers, &headers(&world.stranger), "demo").as_deref(), Ok("ada@newcomer"));
    assert!(judged(&signers, &headers(&world.operator), "demo").is_err(), "was taken out");
    fs::write(&world.path, "[[signers").expect("writes");
    assert!(judged(&signers, &headers(&world.stranger), "demo").is_ok());
    fs::remove_file(&world.path).expect("removes");
    assert!(judged(&signers, &headers(&world.stranger), "demo").is_ok());
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_place_and_no_seed_is_shown() {
    let key = KeyPair::new_user().public_key();
    let seed = KeyPair::new_user().seed().expect("a seed");
    let one = |user: &str, key: &str, scope: &str| {
        format!("[[signers]]\nuser = {user:?}\nkey = {key:?}\nprojects = [{scope:?}]\n")
    };
    for (text, words) in [
        ("signers = 3".to_owned(), "signers"),
        ("signer = []".to_owned(), "signer"),
        (one("ada@operator", &key, "demo"), "signers[0].user"),
        (one("a", &key, "No Name"), "signers[0].projects[0]"),
        (one("a", &seed, "demo"), "signers[0].key"),
        (one("a", &key, "demo") + &one("b", &key, "other"), "signers[1].key: a has it already"),
        ("[[signers]\n".to_owned(), "line 1"),
    ] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("writes");
        let error = Signers::open(file.path()).map(drop).expect_err(words).to_string();
        assert!(error.contains(words) && !error.contains(&seed), "{words}: {error}");
    }
}
