//! Who asks, proved: the services of a bus with signers believe no name without a signature, and whoever copies one gains
//! nothing.

use std::path::PathBuf;

use async_nats::HeaderMap;
use bcs_client::{Client, Position, Raw};
use bcs_kit::{
    Clock,
    actor::{Identity, Scope, Signer, SignersFile},
    bus::{self, BusConfig},
    quarantine::{self, Replay},
};
use bcs_schemas::{
    CommandId, Service,
    deploy::ScaleApp,
    envelope::{Mode, header},
    outcome::{Outcome, RejectionCode},
};
use jiff::{SignedDuration, Timestamp};
use nkeys::KeyPair;
use tempfile::TempDir;

use crate::harness::{LONG, Running, Server, accepted, rejected, shop, until};

const SCALE: &str = "bcs.cmd.deploy.local.demo.app.shop.scale";

/// A bus whose services want names proved, and keys for some.
struct World {
    server: Server,
    dir: TempDir,
}

impl World {
    /// With `project-demo` and `project-other` for their projects, and `operator` for all.
    fn start() -> Self {
        let world = Self { server: Server::start(), dir: TempDir::new().expect("a directory") };
        let signers = [("project-demo", "demo"), ("project-other", "other"), ("operator", "*")];
        let signers = signers.map(|(user, scope)| Signer {
            user: user.to_owned(),
            key: world.key(user),
            projects: vec![Scope::try_from(scope.to_owned()).expect("a scope")],
        });
        let _ = world.key("stranger");
        let file = SignersFile { anonymous: false, signers: signers.into() };
        std::fs::write(world.actors(), file.text().expect("is written")).expect("writes");
        world
    }

    fn actors(&self) -> PathBuf {
        self.dir.path().join("actors.toml")
    }

    fn seed(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.nk"))
    }

    /// Makes a key; its public half.
    fn key(&self, user: &str) -> String {
        let pair = KeyPair::new_user();
        std::fs::write(self.seed(user), pair.seed().expect("a seed")).expect("writes");
        pair.public_key()
    }

    fn identity(&self, user: &str) -> Identity {
        let seed = std::fs::read_to_string(self.seed(user)).expect("reads");
        Identity::from_seed(&seed).expect("a key")
    }

    async fn service(&self, clock: Clock) -> Running {
        let config = BusConfig { actors: Some(self.actors()), ..self.server.config() };
        Running::start_with(&self.server, &config, clock).await
    }

    async fn client(&self, user: &str) -> Client {
        let config = BusConfig { credentials: Some(self.seed(user)), ..self.server.config() };
        let bus = self.server.bus_with(&config, user).await;
        Client::over(bus, Clock::system()).await.expect("a client")
    }
}

/// A command with its headers, to be signed and then tampered with.
#[derive(Clone)]
struct Letter {
    subject: &'static str,
    headers: HeaderMap,
    payload: &'static str,
}

impl Letter {
    fn new(client: &Client) -> Self {
        let headers = bus::headers(vec![
            (header::MESSAGE_ID, client.fresh_id().to_string()),
            (header::ACTOR, "ada".to_owned()),
        ]);
        Self { subject: SCALE, headers, payload: r#"{"replicas": 666}"# }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    fn signed(mut self, identity: &Identity, now: Timestamp) -> Self {
        let payload = self.payload.as_bytes();
        identity.vouch(self.subject, &mut self.headers, payload, now).expect("signs");
        self
    }

    fn id(&self) -> CommandId {
        let id = bus::header(Some(&self.headers), header::MESSAGE_ID).expect("an id");
        id.parse().expect("is a UUID")
    }

    fn raw(&self) -> Raw {
        let headers = self.headers.iter().map(|(name, value)| (name.to_string(), value[0].to_string()));
        let (subject, payload) = (self.subject.to_owned(), self.payload.into());
        Raw { subject, payload, content_type: None, headers: headers.collect() }
    }

    async fn outcome(&self, client: &Client) -> Outcome {
        let (_, outcome) = client.publish_raw(self.raw(), Some(LONG)).await.expect("is answered");
        outcome.expect("an outcome")
    }
}

async fn scale(client: &Client, replicas: u32) -> Outcome {
    let command = client.command(shop(), ScaleApp { replicas, ..ScaleApp::default() }).actor("ada");
    command.send(LONG).await.expect("an outcome")
}

/// Who asked, from the oldest decision on.
async fn actors(client: &Client, count: usize) -> Vec<String> {
    let mut events = client.events(&[Service::Deploy], Position::All).await.expect("opens");
    let mut seen = Vec::new();
    while seen.len() < count {
        let event = tokio::time::timeout(LONG, events.next()).await.expect("an event comes");
        seen.push(event.expect("an event").headers.actor);
    }
    seen
}

#[tokio::test]
async fn a_command_is_recorded_with_who_vouches_for_its_sender() {
    let world = World::start();
    let service = world.service(Clock::system()).await;
    let (demo, operator) = (world.client("project-demo").await, world.client("operator").await);
    accepted(scale(&demo, 1).await);
    accepted(scale(&operator, 2).await);
    let mode = Mode::Plan;
    let plan = demo.command(shop(), ScaleApp { replicas: 9, ..ScaleApp::default() }).actor("ada").mode(mode);
    assert!(accepted(plan.send(LONG).await.expect("an outcome")).plan);
    // Any program may do by hand what the client does.
    let letter = Letter { payload: r#"{"replicas": 3}"#, ..Letter::new(&operator) };
    let keyless = world.server.client().await;
    let now = keyless.clock().now();
    accepted(letter.signed(&world.identity("project-demo"), now).outcome(&keyless).await);
    assert_eq!(actors(&operator, 3).await, ["ada@project-demo", "ada@operator", "ada@project-demo"]);
    assert_eq!(service.effects(), [1, 2, 3]);
    service.stop().await;
}

#[tokio::test]
async fn what_is_not_proved_is_refused_and_harms_nobody() {
    let world = World::start();
    let service = world.service(Clock::system()).await;
    // It has no key, so nothing is signed that a test did not sign.
    let client = world.server.client().await;
    let now = client.clock().now();
    let ago = |seconds| now - SignedDuration::from_secs(seconds);
    let demo = world.identity("project-demo");
    let new = || Letter::new(&client);
    let signed = || new().signed(&demo, now);
    let claim = |letter: &Letter| {
        bus::header(Some(&letter.headers), header::ACTOR_CLAIM).expect("a claim").to_owned()
    };
    let other = world.identity("project-other");
    let right = claim(&signed());
    let forbidden = RejectionCode::Forbidden;
    let mut nobody = new();
    nobody.headers = bus::headers(vec![(header::MESSAGE_ID, client.fresh_id().to_string())]);
    for (what, letter, code, words) in [
        ("nobody asks", nobody, forbidden, "takes no command without"),
        ("no claim", new(), forbidden, "is missing"),
        ("an unknown key", new().signed(&world.identity("stranger"), now), forbidden, "may not sign here"),
        (
            "another project",
            new().signed(&other, now),
            forbidden,
            "project-other, who may not speak about project demo",
        ),
        ("copied to another id", new().with(header::ACTOR_CLAIM, right.clone()), forbidden, "does not fit"),
        (
            "another payload",
            Letter { payload: r#"{"replicas": 667}"#, ..signed() },
            forbidden,
            "does not fit",
        ),
        (
            "another object",
            Letter { subject: "bcs.cmd.deploy.local.demo.app.other.scale", ..signed() },
            forbidden,
            "does not fit",
        ),
        (
            "another verb",
            Letter { subject: "bcs.cmd.deploy.local.demo.app.shop.delete", ..signed() },
            forbidden,
            "does not fit",
        ),
        ("another actor", signed().with(header::ACTOR, "grace"), forbidden, "does not fit"),
        (
            "a plan made true",
            new().with(header::MODE, "plan").signed(&demo, now).with(header::MODE, "apply"),
            forbidden,
            "does not fit",
        ),
        ("a plan made of it", signed().with(header::MODE, "plan"), forbidden, "does not fit"),
        ("another revision", signed().with(header::EXPECTED_REVISION, "0"), forbidden, "does not fit"),
        ("expired", new().signed(&demo, ago(1_000)), forbidden, "had expired"),
        ("of the future", new().signed(&demo, ago(-1_000)), forbidden, "look at your clock"),
    ] {
        refused(&client, &letter, (code, words), what).await;
        assert!(service.effects().is_empty(), "{what} had an effect");
    }
    accepted(scale(&world.client("project-demo").await, 1).await);
    assert_eq!(service.effects(), [1]);
    service.stop().await;
}

/// Demands that it is refused, with the field, and that this is the outcome for good.
async fn refused(client: &Client, letter: &Letter, (code, words): (RejectionCode, &str), what: &str) {
    let outcome = letter.outcome(client).await;
    let refused = rejected(outcome.clone());
    assert_eq!(refused.code, code, "{what}: {refused:?}");
    assert!(refused.message.contains(words), "{what}: {refused:?}");
    assert_eq!(refused.fields[0].field, header::ACTOR_CLAIM, "{what}");
    if bus::header(Some(&letter.headers), header::MODE) != Some("plan") {
        let stored = client.outcome(Service::Deploy, letter.id()).await.expect("an answer").data;
        assert_eq!(stored, Some(outcome), "{what}");
    }
}

#[tokio::test]
async fn what_is_no_claim_is_refused_as_invalid_and_harms_nobody() {
    let world = World::start();
    let service = world.service(Clock::system()).await;
    let client = world.server.client().await;
    let new = || Letter::new(&client);
    let right = new().signed(&world.identity("project-demo"), client.clock().now());
    let right = bus::header(Some(&right.headers), header::ACTOR_CLAIM).expect("a claim").to_owned();
    let invalid = RejectionCode::Invalid;
    for (what, letter, code, words) in [
        ("truncated", new().with(header::ACTOR_CLAIM, &right[..right.len() - 4]), invalid, "no signature"),
        (
            "oversized",
            new().with(header::ACTOR_CLAIM, "v1.".to_owned() + &"A".repeat(9_000)),
            invalid,
            "has 9003 bytes",
        ),
        (
            "not base64",
            new().with(header::ACTOR_CLAIM, right[..right.len() - 4].to_owned() + "%%%%"),
            invalid,
            "no signature",
        ),
        (
            "another version",
            new().with(header::ACTOR_CLAIM, right.replacen("v1", "v9", 1)),
            invalid,
            "another version",
        ),
        ("empty", new().with(header::ACTOR_CLAIM, ""), invalid, "has 1 parts"),
    ] {
        refused(&client, &letter, (code, words), what).await;
        assert!(service.effects().is_empty(), "{what} had an effect");
    }
    accepted(scale(&world.client("project-demo").await, 1).await);
    assert_eq!(service.effects(), [1]);
    service.stop().await;
}

#[tokio::test]
async fn what_is_forbidden_and_waits_for_no_answer_has_its_outcome_kept() {
    let world = World::start();
    let service = world.service(Clock::system()).await;
    let client = world.server.client().await;
    let letter = Letter::new(&client);
    client.publish_raw(letter.raw(), None).await.expect("is kept");
    until(|| async {
        let stored = client.outcome(Service::Deploy, letter.id()).await.map_err(|e| e.to_string())?.data;
        match stored {
            Some(Outcome::Rejected(refused)) if refused.code == RejectionCode::Forbidden => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(quarantine::list(&service.bus).await.expect("a list").is_empty());
    service.stop().await;
}

/// The bus knows when it took a command; the service may be down for days.
#[tokio::test]
async fn how_long_a_command_waited_for_its_service_does_not_count() {
    let world = World::start();
    world.service(Clock::system()).await.stop().await;
    let client = world.client("project-demo").await;
    let letter = Letter::new(&client);
    client.publish_raw(letter.raw(), None).await.expect("is kept");
    let late = client.clock().now() + SignedDuration::from_hours(48);
    let service = world.service(Clock::manual(late)).await;
    until(|| async {
        let effects = service.effects();
        if effects == [666] { Ok(()) } else { Err(format!("{effects:?}")) }
    })
    .await;
    service.stop().await;
}

#[tokio::test]
async fn a_repeat_gets_the_outcome_that_there_is_and_is_no_attack() {
    let world = World::start();
    let service = world.service(Clock::system()).await;
    let client = world.client("project-demo").await;
    let letter = Letter::new(&client);
    let first = letter.outcome(&client).await;
    assert_eq!(letter.outcome(&client).await, first);
    // Nor does it matter that the claim of a repeat does not hold any more: nothing is decided.
    let keyless = world.server.client().await;
    let late = keyless.clock().now() - SignedDuration::from_hours(1);
    assert_eq!(letter.signed(&world.identity("project-demo"), late).outcome(&keyless).await, first);
    assert_eq!(service.effects(), [666]);
    service.stop().await;
}

#[tokio::test]
async fn whoever_replays_a_letter_signs_for_it_and_the_old_claim_is_not_used() {
    let world = World::start();
    let service = world.service(Clock::system()).await;
    let keyless = world.server.client().await;
    let letter = Letter::new(&keyless).with(header::ACTOR_CLAIM, "let me in");
    keyless.publish_raw(letter.raw(), None).await.expect("is kept");
    until(|| async {
        let letters = quarantine::list(&service.bus).await.map_err(|e| e.to_string())?;
        if letters.len() == 1 { Ok(()) } else { Err(format!("{letters:?}")) }
    })
    .await;
    let (seq, _) = quarantine::list(&service.bus).await.expect("a list").remove(0);
    let operator = world.client("operator").await;
    let (id, now) = (operator.fresh_id(), operator.clock().now());
    let replay = Replay { actor: "grace".to_owned(), id, now };
    assert_eq!(quarantine::replay(operator.bus(), seq, replay).await.expect("replays"), Some(id));
    assert_eq!(actors(&operator, 1).await, ["grace replaying ada@operator"]);
    service.stop().await;
}

#[tokio::test]
async fn a_service_without_signers_believes_what_it_is_told() {
    let world = World::start();
    let service = Running::start(&world.server).await;
    let client = world.server.client().await;
    accepted(Letter::new(&client).with(header::ACTOR_CLAIM, "let me in").outcome(&client).await);
    accepted(scale(&world.client("stranger").await, 1).await);
    assert_eq!(actors(&client, 2).await, ["ada", "ada"]);
    service.stop().await;
}
