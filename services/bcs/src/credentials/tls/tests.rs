use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

/// A day within the life of this program, and a directory with nothing in it.
struct World {
    dir: TempDir,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let now = "2026-11-24T12:00:00Z".parse().expect("an instant");
        Self { dir: TempDir::new().expect("a directory"), now }
    }

    fn after(&self, days: i64) -> Timestamp {
        self.now + SignedDuration::from_hours(24 * days)
    }

    fn prepared(&self, names: &[&str], now: Timestamp) -> Result<Tls, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        prepare(self.dir.path(), &names, now).map_err(|failure| failure.message)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).expect("reads")
    }

    /// Authority and server.
    fn certificates(&self) -> (String, String) {
        (self.read(CA_FILE), self.read(SERVER_FILE))
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.dir.path().join(file)).expect("removes");
    }
}

#[test]
fn certificates_are_made_once_and_keys_are_their_owners_alone() {
    let world = World::new();
    let tls = world.prepared(&LOCAL, world.now).expect("makes");
    assert_eq!((tls.ca_until, tls.until), (world.after(3_652), world.after(397)));
    let first = world.certificates();
    for file in [CA_KEY_FILE, SERVER_KEY_FILE] {
        let mode = fs::metadata(world.dir.path().join(file)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        assert!(!tls.server_config().contains(&world.read(file)));
    }
    // The same names in another order and form.
    world.prepared(&["localhost", "LOCALHOST", "127.0.0.1", "0:0::1"], world.after(300)).expect("keeps");
    assert_eq!(world.certificates(), first);
}

#[test]
fn a_certificate_that_is_about_to_end_is_made_anew_by_the_same_authority() {
    let world = World::new();
    world.prepared(&LOCAL, world.now).expect("makes");
    let (ca, server) = world.certificates();
    world.prepared(&LOCAL, world.after(397 - 30)).expect("keeps");
    assert_eq!(world.certificates(), (ca.clone(), server.clone()));
    for days in [397 - 29, 3_000] {
        let tls = world.prepared(&LOCAL, world.after(days)).expect("renews");
        let (same, new) = world.certificates();
        assert!(same == ca && new != server, "{days}");
        assert_eq!(tls.until, world.after(days + 397));
    }
    // Nothing outlives who signed it.
    assert_eq!(world.prepared(&LOCAL, world.after(3_650)).expect("renews").until, world.after(3_652));
}

#[test]
fn a_server_certificate_that_does_not_serve_is_made_anew() {
    let world = World::new();
    world.prepared(&LOCAL, world.now).expect("makes");
    let (ca, before) = world.certificates();
    let elsewhere = World::new();
    elsewhere.prepared(&LOCAL, world.now).expect("makes");
    let changes: [(&str, &dyn Fn()); 5] = [
        ("other names", &|| drop(world.prepared(&["bus.example"], world.now).expect("makes"))),
        ("another key", &|| world.write(SERVER_KEY_FILE, &elsewhere.read(SERVER_KEY_FILE))),
        ("no key", &|| world.remove(SERVER_KEY_FILE)),
        ("no certificate", &|| world.write(SERVER_FILE, "-----BEGIN CERTIFICATE-----")),
        ("another authority", &|| {
            world.write(SERVER_FILE, &elsewhere.read(SERVER_FILE));
            world.write(SERVER_KEY_FILE, &elsewhere.read(SERVER_KEY_FILE));
        }),
    ];
    let mut last = before;
    for (what, change) in changes {
        change();
        world.prepared(&LOCAL, world.now).expect(what);
        let (same, new) = world.certificates();
        assert!(same == ca && new != last && new != elsewhere.read(SERVER_FILE), "{what}");
        last = new;
    }
}

impl World {
    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).expect("writes");
    }
}

#[test]
fn what_is_wrong_with_an_authority_is_said_with_what_to_do() {
    let elsewhere = World::new();
    elsewhere.prepared(&LOCAL, elsewhere.now).expect("makes");
    let expired = |world: &World| world.prepared(&LOCAL, world.after(3_653));
    let missing = |world: &World| {
        world.remove(CA_FILE);
        world.prepared(&LOCAL, world.now)
    };
    let foreign = |world: &World| {
        world.write(CA_KEY_FILE, &elsewhere.read(CA_KEY_FILE));
        world.prepared(&LOCAL, world.now)
    };
    let garbage = |world: &World| {
        world.write(CA_FILE, "nonsense");
        world.prepared(&LOCAL, world.now)
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&World) -> Result<Tls, String>);
    let cases: [Case<'_>; 4] = [
        ("has expired at 2036-11-23", &expired),
        ("is missing beside ca-key.pem", &missing),
        ("not the one of this certificate", &foreign),
        ("is no certificate in PEM", &garbage),
    ];
    for (words, case) in cases {
        let world = World::new();
        world.prepared(&LOCAL, world.now).expect("makes");
        let error = case(&world).expect_err(words);
        assert!(error.contains(words) && error.contains("ca.pem"), "{error}");
        assert!(error.contains("remove ca.pem and ca-key.pem") && !error.contains("PRIVATE"), "{error}");
    }
}

#[test]
fn the_key_of_the_authority_may_be_kept_elsewhere_until_it_is_needed() {
    let world = World::new();
    world.prepared(&LOCAL, world.now).expect("makes");
    world.remove(CA_KEY_FILE);
    world.prepared(&LOCAL, world.now).expect("keeps");
    let error = world.prepared(&LOCAL, world.after(390)).expect_err("cannot sign");
    assert!(error.contains("ca-key.pem is needed"), "{error}");
}

#[test]
fn names_that_no_certificate_can_hold_are_refused() {
    for names in [&[][..], &[""], &["a b"], &["bus\nexample"], &["büs.example"]] {
        let world = World::new();
        let error = world.prepared(names, world.now).expect_err("no names");
        assert!(error.contains("expected DNS names and addresses"), "{names:?}: {error}");
    }
}
