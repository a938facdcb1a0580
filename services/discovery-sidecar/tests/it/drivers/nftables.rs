//! The nftables driver alone against the kernel, in a network namespace of its own, looked at by `nft list set`.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    process::{Command, Output},
    time::Duration,
};

use bcs_discovery_sidecar::{
    domain::{Change, Failure, Outcome},
    driver::Drift,
};
use bcs_schemas::observation::Endpoint;
use futures::StreamExt;

use crate::{
    contract::{Hand, Site},
    faults::{Able, Fault, Faulty, Line, SCRIPT},
    fixture::*,
};

/// A network namespace that is there as long as a process which does nothing.
struct Namespace(Process);

impl Namespace {
    async fn start() -> Self {
        let arguments = ["--net", "sleep", "infinity"].map(ToOwned::to_owned);
        let mut holder = start("unshare", "the Debian package util-linux", &arguments);
        let ours = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        let path = format!("/proc/{}/ns/net", holder.id());
        wait_until(LONG, async || {
            assert!(!holder.ended(), "a network namespace cannot be made here: unshare --net needs root");
            match std::fs::read_link(&path) {
                Ok(theirs) if theirs != ours => Ok(()),
                other => Err(format!("{path}: {other:?}")),
            }
        })
        .await;
        Self(holder)
    }

    fn enter(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.0.id())]
    }

    fn run(&self, words: &[&str]) -> Output {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(words);
        command.output().expect("nsenter runs: install the Debian package util-linux")
    }

    fn ask(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} failed ({said}): are nftables and iproute2 installed?");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn nft(&self, rules: &str) -> String {
        self.ask(&["nft", rules])
    }

    fn spec_with(&self, more: serde_json::Value) -> serde_json::Value {
        let command: Vec<String> = self.enter().into_iter().chain(["nft".to_owned()]).collect();
        let mut nftables = serde_json::json!({ "command": command });
        nftables.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        serde_json::json!({ "driver": { "nftables": nftables } })
    }
}

impl Site for Namespace {
    async fn start() -> Self {
        Self::start().await
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_with(serde_json::json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let output = self.run(&["nft", "list", "set", "inet", "bcs", "shop_web_v4"]);
        let text = String::from_utf8_lossy(&output.stdout);
        text.split([' ', '\t', '\n', ',']).filter_map(|word| word.parse().ok()).collect()
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.nft("add table inet bcs");
        self.nft("add set inet bcs shop_web_v4 { type ipv4_addr; }");
        self.nft(&format!("add element inet bcs shop_web_v4 {{ {address} }}"));
    }
}

crate::contract::contract!(super::Namespace);
crate::adoption::stories!(super::Namespace);

impl crate::adoption::Kept for Namespace {
    async fn unkeep(&self, address: IpAddr) {
        self.nft(&format!("delete element inet bcs shop_web_v4 {{ {address} }}"));
    }
}

/// One that is reached through a script which can be told to fail.
struct Scripted {
    namespace: Namespace,
    directory: tempfile::TempDir,
}

impl Site for Scripted {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("run"), SCRIPT).expect("writes");
        Self { namespace: Namespace::start().await, directory }
    }

    fn spec(&self) -> serde_json::Value {
        self.namespace.spec()
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.namespace.addresses().await
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.namespace.add_foreign(address).await;
    }
}

impl Faulty for Scripted {
    const NAME: &'static str = "nftables";
    const ABLE: Able = Able::of(&[Able::WAY, &[Fault::Emptied, Fault::TakenOut]]);

    async fn lines(&self, _: u16) -> Vec<(Line, serde_json::Value)> {
        let at = |file: &str| self.directory.path().join(file);
        let line = |number| {
            let mood = at(&format!("mood-{number}"));
            std::fs::write(&mood, "open").expect("writes");
            let mut command =
                vec!["sh".to_owned(), at("run").display().to_string(), mood.display().to_string()];
            command.extend(self.namespace.enter());
            command.push("nft".to_owned());
            (Line::Command(mood), self.namespace.spec_with(serde_json::json!({ "command": command })))
        };
        [0, 1].map(line).into()
    }

    async fn down(&mut self, _: bool) {
        self.namespace.nft("flush ruleset");
    }

    async fn up(&mut self) {}

    async fn theirs(&self) -> String {
        let set = self.namespace.nft("list set inet bcs shop_web_v4");
        set.split([',', '{', '}']).map(str::trim).filter(|element| element.starts_with("192.")).collect()
    }

    async fn take_out(&self, address: IpAddr) {
        // It may have gone meanwhile.
        let element = format!("delete element inet bcs shop_web_v4 {{ {address} }}");
        let _ = self.namespace.run(&["nft", &element]);
    }
}

crate::faults::faults!(Scripted);

fn at(address: &str, number: u32) -> Endpoint {
    Endpoint { addresses: vec![address.parse().expect("an address")], ..endpoint(number) }
}

#[tokio::test]
async fn rules_that_are_loaded_anew_are_noticed_and_get_everything_again() {
    let site = Namespace::start().await;
    let hand = Hand::of(&site);
    hand.fence(3).await;
    let since = hand.driver.list().await.expect("reads").at;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let mut drifts = hand.driver.drift(since).await.expect("watches");
    let quiet = tokio::time::timeout(Duration::from_millis(4500), drifts.next()).await;
    assert!(quiet.is_err(), "our own changes are none of others: {quiet:?}");
    site.nft("flush ruleset");
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("in time");
    assert!(
        matches!(&told, Some(Err(Failure::Unavailable(words))) if words.contains("loaded anew")),
        "{told:?}"
    );
    let lost = hand.driver.apply(&[hand.put(endpoint(2), None)]).await;
    assert!(matches!(lost, Err(Failure::Unavailable(_))), "{lost:?}");
    hand.fence(3).await;
    assert_eq!(hand.items().await, []);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(site.addresses().await.len(), 1);
}

#[tokio::test]
async fn an_element_that_is_taken_out_by_hand_is_noticed_and_can_be_written_again() {
    let site = Namespace::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let mut drifts = hand.driver.drift(0).await.expect("watches");
    site.nft("delete element inet bcs shop_web_v4 { 10.0.0.1 }");
    let told = tokio::time::timeout(LONG, drifts.next()).await.expect("in time");
    assert_eq!(told, Some(Ok(Drift::Unknown)));
    assert_eq!(hand.items().await.len(), 1);
    hand.done(&[hand.put(endpoint(1), None)]).await;
    assert_eq!(site.addresses().await.len(), 2);
}

#[tokio::test]
async fn an_address_that_somebody_else_allowed_stays_theirs_even_if_it_was_ours_before() {
    let site = Namespace::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let item = hand.items().await.remove(0);
    site.nft("delete element inet bcs shop_web_v4 { 10.0.0.1 }");
    site.nft("add element inet bcs shop_web_v4 { 10.0.0.1 comment \"the office\" }");
    let changes = [Change::Remove { place: item.place, version: item.version }];
    let outcomes = hand.driver.apply(&changes).await.expect("is answered");
    assert_eq!(outcomes, [Outcome::Differs(None)]);
    let outcomes = hand.driver.apply(&[hand.put(endpoint(1), None), hand.put(endpoint(2), None)]).await;
    let outcomes = outcomes.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Foreign(words), Outcome::Again] if words.contains("the office")),
        "{outcomes:?}"
    );
    assert!(site.nft("list set inet bcs shop_web_v4").contains("the office"));
}

#[tokio::test]
async fn an_address_is_handed_from_one_incarnation_to_the_next() {
    let site = Namespace::start().await;
    let hand = Hand::of(&site);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    let next = Endpoint { uid: "uid-next".into(), ..endpoint(1) };
    let outcomes = hand.driver.apply(&[hand.put(next.clone(), None)]).await.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Waits(words)] if words.contains("is still of sim-a.shop.web.web-1")),
        "{outcomes:?}"
    );
    let item = hand.items().await.remove(0);
    hand.done(&[hand.put(next, None), Change::Remove { place: item.place, version: item.version }]).await;
    assert_eq!(&*hand.items().await[0].uid, "uid-next");
    assert_eq!(site.addresses().await.len(), 1);
}

#[tokio::test]
async fn both_families_and_ports_have_sets_of_their_own_kind() {
    let site = Namespace::start().await;
    let hand = Hand::with(site.spec_with(
        serde_json::json!({ "table": "netdev edge", "set": "allow-{app}", "member": "address_port" }),
    ));
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None), hand.put(at("fd00::1", 2), None)]).await;
    let (four, six) =
        (site.nft("list set netdev edge allow-web_v4"), site.nft("list set netdev edge allow-web_v6"));
    assert!(four.contains("ipv4_addr . inet_service") && four.contains("10.0.0.1 . 8080 comment"), "{four}");
    assert!(six.contains("ipv6_addr . inet_service") && six.contains("fd00::1 . 8080 comment"), "{six}");
    let items = hand.items().await;
    // An instance whose address is of another family now.
    hand.done(&[hand.put(at("10.0.0.9", 2), Some(items[1].version))]).await;
    assert!(!site.nft("list set netdev edge allow-web_v6").contains("fd00::1"));
    assert!(site.nft("list set netdev edge allow-web_v4").contains("10.0.0.9 . 8080"));
}

#[tokio::test]
async fn a_set_that_cannot_hold_it_is_refused_and_its_neighbours_are_not() {
    let site = Namespace::start().await;
    site.nft("add table inet bcs");
    site.nft(
        "add set inet bcs shop_ranges_v4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }",
    );
    site.nft("add set inet bcs shop_full_v4 { type ipv4_addr; size 1; elements = { 192.0.2.1 }; }");
    site.nft("add map inet bcs shop_map_v4 { type ipv4_addr : verdict; }");
    let hand = Hand::of(&site);
    hand.fence(1).await;
    let of = |app: &str, number| Endpoint { app: name(app), ..endpoint(number) };
    let outcomes = hand.driver.apply(&[hand.put(of("ranges", 1), None), hand.put(endpoint(2), None)]).await;
    let outcomes = outcomes.expect("is answered");
    assert!(
        matches!(&outcomes[..], [Outcome::Refused(words), Outcome::Again] if words.contains("shop_ranges_v4 has intervals")),
        "{outcomes:?}"
    );
    for app in ["full", "map"] {
        let refused = hand.driver.apply(&[hand.put(of(app, 3), None), hand.put(endpoint(2), None)]).await;
        assert!(matches!(&refused, Err(Failure::Rejected(words)) if words.contains("Error")), "{refused:?}");
    }
    assert_eq!(hand.items().await, [], "nothing of a batch that is refused is written");
    hand.done(&[hand.put(endpoint(2), None)]).await;
}

/// A program that stands before `nft`.
fn before_nft(directory: &tempfile::TempDir, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.path().join("nft");
    // Written and then moved, since a file that is being written cannot be run.
    let fresh = directory.path().join("fresh");
    std::fs::write(&fresh, format!("#!/bin/sh\n{script}\n")).expect("writes");
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).expect("sets");
    std::fs::rename(&fresh, &path).expect("moves");
    path.display().to_string()
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_kernel_took_it_is_not_believed_to_be_a_failure() {
    let site = Namespace::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let enter = site.enter().join(" ");
    let plain = format!("exec {enter} nft \"$@\"");
    let command = before_nft(&directory, &plain);
    let hand = Hand::with(site.spec_with(serde_json::json!({ "command": [command] })));
    hand.fence(1).await;
    before_nft(&directory, &format!("{enter} nft \"$@\"\n[ \"$2\" != -f ] || exec sleep 20"));
    let began = tokio::time::Instant::now();
    let lost = hand.driver.apply(&[hand.put(endpoint(1), None)]).await;
    assert!(
        matches!(&lost, Err(Failure::Unavailable(words)) if words.contains("did not end in time")),
        "{lost:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(8));
    before_nft(&directory, &plain);
    hand.fence(1).await;
    assert_eq!(hand.items().await.len(), 1, "it was done");
    let again = hand.driver.apply(&[hand.put(endpoint(1), None)]).await.expect("is answered");
    assert!(matches!(&again[..], [Outcome::Differs(Some(_))]), "{again:?}");
}

#[tokio::test]
async fn a_transaction_that_comes_late_fails_as_a_whole_in_the_kernel() {
    let site = Namespace::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let enter = site.enter().join(" ");
    // It keeps what it should write for later, as a process does that is not scheduled for a while.
    let kept = directory.path().join("kept");
    let slow = format!("[ \"$2\" = -f ] && {{ cat > {}; exit 1; }}\nexec {enter} nft \"$@\"", kept.display());
    let command = before_nft(&directory, &format!("exec {enter} nft \"$@\""));
    let old = Hand::with(site.spec_with(serde_json::json!({ "command": [command] })));
    old.fence(5).await;
    before_nft(&directory, &slow);
    let lost = old.driver.apply(&[old.put(endpoint(1), None)]).await;
    assert!(matches!(lost, Err(Failure::Unavailable(_))), "{lost:?}");
    let new = Hand::of(&site);
    new.fence(9).await;
    let late = site.run(&["nft", "-j", "-f", &kept.display().to_string()]);
    assert!(!late.status.success(), "{late:?}");
    assert_eq!(new.items().await, []);
    assert_eq!(old.driver.apply(&[old.put(endpoint(1), None)]).await, Err(Failure::Fenced(9)));
}

#[tokio::test]
async fn many_that_raise_their_epochs_at_once_leave_one() {
    let site = Namespace::start().await;
    let hands: Vec<Hand> = (0..6).map(|_| Hand::of(&site)).collect();
    for round in 0..3 {
        let raised = hands.iter().zip(1..).map(|(hand, epoch)| hand.driver.fence(round * 10 + epoch));
        futures::future::join_all(raised).await;
        let text = site.nft("list table inet bcs");
        assert_eq!(text.matches("set bcs_epoch_").count(), 1, "{text}");
        assert_eq!(text.matches("set bcs_owner_").count(), 1, "{text}");
        site.nft(["flush ruleset", "list ruleset"][usize::from(round == 1)]);
    }
}

#[tokio::test]
async fn a_second_installation_of_the_same_owner_writes_nothing_and_says_so() {
    let site = Namespace::start().await;
    Hand::of(&site).fence(1).await;
    let text = site.nft("list table inet bcs");
    let mark =
        text.split_whitespace().find(|word| word.starts_with("bcs_owner_")).expect("a mark").to_owned();
    site.nft(&format!("flush set inet bcs {mark}"));
    site.nft(&format!("add element inet bcs {mark} {{ 1 comment \"another\" }}"));
    let second = Hand::of(&site);
    let refused = second.driver.fence(2).await;
    assert!(
        matches!(&refused, Err(Failure::Unavailable(words))
            if words.contains("another installation, another") && words.contains(&format!("delete the set {mark} of the table inet bcs"))),
        "{refused:?}"
    );
    site.nft(&format!("delete set inet bcs {mark}"));
    second.fence(2).await;
    // Somebody's hand left half of it.
    site.nft(&format!("flush set inet bcs {mark}"));
    second.fence(3).await;
    second.done(&[second.put(endpoint(1), None)]).await;
}

#[tokio::test]
async fn what_is_no_nft_or_may_not_write_is_named() {
    let site = Namespace::start().await;
    let unable: Vec<String> =
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups"]
            .iter()
            .map(ToString::to_string)
            .collect();
    let unable: Vec<String> = [site.enter(), unable, vec!["nft".to_owned()]].concat();
    for (command, words) in [
        (vec!["/nowhere/nft".to_owned()], "/nowhere/nft cannot be started"),
        (vec!["echo".to_owned(), "hello".to_owned()], "echo hello answered what is no JSON of nft"),
        (vec!["false".to_owned()], "reading failed: exit status: 1"),
        (unable, "needs CAP_NET_ADMIN"),
    ] {
        let failed =
            Hand::with(site.spec_with(serde_json::json!({ "command": command }))).driver.fence(1).await;
        assert!(matches!(&failed, Err(Failure::Unavailable(said)) if said.contains(words)), "{failed:?}");
    }
}

#[tokio::test]
async fn whoever_is_in_the_set_gets_through_and_nobody_else() {
    let (wall, client) = (Namespace::start().await, Namespace::start().await);
    let pid = client.0.id().to_string();
    wall.ask(&["ip", "link", "add", "wall", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    for (site, device, address) in [(&wall, "wall", "10.77.0.1/24"), (&client, "eth0", "10.77.0.2/24")] {
        site.ask(&["ip", "address", "add", address, "dev", device]);
        site.ask(&["ip", "link", "set", device, "up"]);
    }
    let hand = Hand::of(&wall);
    hand.fence(1).await;
    hand.done(&[hand.put(endpoint(1), None)]).await;
    wall.nft("add chain inet bcs input { type filter hook input priority 0; policy drop; }");
    wall.nft("add rule inet bcs input ip saddr @shop_web_v4 accept");
    // Nobody listens: who gets through is told so, and who does not waits in vain.
    let through = || {
        let called = client.run(&["timeout", "1", "bash", "-c", "echo > /dev/tcp/10.77.0.1/8080"]);
        let said = String::from_utf8_lossy(&called.stderr).into_owned();
        match called.status.code() {
            Some(124) => false,
            Some(1) if said.contains("refused") => true,
            _ => panic!("{called:?}"),
        }
    };
    assert!(!through());
    hand.done(&[hand.put(at("10.77.0.2", 2), None)]).await;
    assert!(through());
    let item = hand.items().await.remove(1);
    hand.done(&[Change::Remove { place: item.place, version: item.version }]).await;
    assert!(!through());
}
