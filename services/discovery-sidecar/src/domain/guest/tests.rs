use std::collections::BTreeSet;

use super::*;

fn data(kind: Kind, text: &str) -> Data {
    Data::read(kind, text).unwrap_or_else(|why| panic!("{why}"))
}

fn set(kind: Kind, texts: &[&str]) -> BTreeSet<Data> {
    texts.iter().map(|text| data(kind, text)).collect()
}

/// `apps` is for others, `web` is of a sidecar, and `sub` is a zone of its own.
fn zone() -> View {
    let mut view = View::of("x.test");
    for (name, kind, text) in [
        ("x.test", Kind::Ns, "ns.x.test"),
        ("x.test", Kind::Txt, "v=spf1 -all"),
        ("ns.x.test", Kind::A, "192.0.2.1"),
        ("old.apps.x.test", Kind::A, "192.0.2.2"),
        ("old.apps.x.test", Kind::A, "192.0.2.3"),
        ("a-old.apps.x.test", Kind::Txt, "\"heritage=external-dns,external-dns/owner=me\""),
        ("web.x.test", Kind::A, "10.0.0.1"),
        ("web.x.test", Kind::A, "192.0.2.4"),
        ("i1.dns.sim-a.eu1._bcs.x.test", Kind::Txt, "bcs=1"),
        ("sub.x.test", Kind::Ns, "ns.sub.x.test"),
    ] {
        view.saw(name.to_owned(), 300, data(kind, text));
    }
    view.saw_more("caa.apps.x.test".to_owned());
    view.belongs("web.x.test".to_owned(), "eu1.sim-a.dns");
    view
}

fn all() -> Domains {
    Domains { include: vec!["x.test".to_owned()], exclude: vec!["_bcs.x.test".to_owned()] }
}

fn wish(name: &str, kind: Kind, told: &[&str], wanted: &[&str]) -> Wish {
    let some = |texts: &[&str]| (!texts.is_empty()).then(|| set(kind, texts));
    Wish { name: name.to_owned(), kind, told: some(told), wanted: some(wanted), ttl: None }
}

fn judged(wishes: &[Wish]) -> Result<Vec<Step>, Refusal> {
    judge(&zone(), &all(), 30, wishes)
}

#[test]
fn texts_come_back_byte_for_byte_and_are_split_where_a_string_ends() {
    let long = "x".repeat(300);
    for (told, shown) in [
        (
            "\"heritage=external-dns,external-dns/owner=me\"",
            "\"heritage=external-dns,external-dns/owner=me\"",
        ),
        ("v=spf1 include:a.test -all", "\"v=spf1 include:a.test -all\""),
        (r#""a \"quoted\" \\ \009word""#, r#""a \"quoted\" \\ \009word""#),
        (r#""a" "b""#, r#""a" "b""#),
        ("é", r#""\195\169""#),
        ("", r#""""#),
        (&long, &format!("\"{long}\"")),
        (&format!("\"{long}\" \"y\""), &format!("\"{}\" \"{}\" \"y\"", &long[..255], &long[255..])),
    ] {
        let text = data(Kind::Txt, told);
        assert_eq!(text.target(), shown);
        assert_eq!((data(Kind::Txt, shown), data(Kind::Txt, &text.content())), (text.clone(), text));
    }
    let Data::Txt(strings) = data(Kind::Txt, &long) else { unreachable!() };
    assert_eq!(strings.iter().map(Vec::len).collect::<Vec<_>>(), [255, 45]);
    for (bad, words) in
        [("\"a", "a quote at the end"), ("\"a\" b", "nothing behind"), (r#""\999""#, "above 255")]
    {
        let why = Data::read(Kind::Txt, bad).expect_err(words);
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn records_are_spelt_one_way_however_they_are_told() {
    for (kind, told, shown, content) in [
        (Kind::A, "192.0.2.1", "192.0.2.1", "192.0.2.1"),
        (Kind::Aaaa, "FD00:0::1", "fd00::1", "fd00::1"),
        (Kind::Cname, "Web.X.test", "web.x.test", "web.x.test."),
        (Kind::Ns, "ns.x.test.", "ns.x.test", "ns.x.test."),
        (Kind::Mx, "10  mail.x.test.", "10 mail.x.test", "10 mail.x.test."),
        (Kind::Mx, "0 .", "0 .", "0 ."),
        (Kind::Srv, "1 2 80 web.x.test", "1 2 80 web.x.test.", "1 2 80 web.x.test."),
    ] {
        let data = data(kind, told);
        assert_eq!((data.target().as_str(), data.content().as_str()), (shown, content));
        assert_eq!(Data::read(kind, shown), Ok(data));
    }
    for (kind, bad) in
        [(Kind::A, "fd00::1"), (Kind::Cname, "a b"), (Kind::Mx, "mail"), (Kind::Srv, "1 2 99999 a")]
    {
        assert!(Data::read(kind, bad).is_err_and(|why| why.contains("expected")), "{bad}");
    }
}

#[test]
fn what_is_ours_and_what_is_of_the_server_is_not_shown() {
    let shown: Vec<String> = zone().shown(&all()).iter().map(|s| format!("{} {}", s.name, s.kind)).collect();
    assert_eq!(
        shown,
        ["a-old.apps.x.test TXT", "ns.x.test A", "old.apps.x.test A", "sub.x.test NS", "x.test TXT"]
    );
    let apps =
        Domains { include: vec!["apps.x.test".to_owned()], exclude: vec!["old.apps.x.test".to_owned()] };
    assert_eq!(zone().shown(&apps).len(), 1);
}

#[test]
fn what_is_as_it_was_told_is_replaced_and_what_is_as_it_is_wanted_needs_nothing() {
    let old = &["192.0.2.2", "192.0.2.3"];
    let steps = judged(&[
        wish("new.apps.x.test", Kind::A, &[], &["192.0.2.9"]),
        wish("old.apps.x.test", Kind::A, old, &["192.0.2.3"]),
        wish("ns.x.test", Kind::A, &["192.0.2.7"], &["192.0.2.1"]),
        wish("gone.apps.x.test", Kind::A, &["192.0.2.7"], &[]),
    ])
    .expect("is taken");
    let shown: Vec<_> = steps.iter().map(|s| (s.name.as_str(), s.before.data.len(), s.after.ttl)).collect();
    assert_eq!(shown, [("new.apps.x.test", 0, 30), ("old.apps.x.test", 2, 300)]);
    // Only another life time.
    let longer = Wish { ttl: Some(60), ..wish("old.apps.x.test", Kind::A, old, old) };
    assert!(matches!(&judged(&[longer]).expect("is taken")[..], [step] if step.after.ttl == 60));
}

#[test]
fn what_is_not_as_it_was_told_is_refused_until_it_is_looked_at_again() {
    for (wish, words) in [
        (
            wish("old.apps.x.test", Kind::A, &["192.0.2.2"], &["192.0.2.9"]),
            "is 192.0.2.2, 192.0.2.3 and not 192.0.2.2 any more",
        ),
        (wish("old.apps.x.test", Kind::A, &["192.0.2.2"], &[]), "old.apps.x.test A is 192.0.2.2"),
        (wish("old.apps.x.test", Kind::A, &[], &["192.0.2.9"]), "is there already: 192.0.2.2"),
        (wish("gone.apps.x.test", Kind::A, &["192.0.2.2"], &["192.0.2.9"]), "is not there and not"),
    ] {
        let good = self::wish("new.apps.x.test", Kind::A, &[], &["192.0.2.9"]);
        let refusal = judged(&[good, wish]).expect_err(words);
        assert!(matches!(&refusal, Refusal::Changed(why) if why.contains(words)), "{refusal:?}");
    }
}

#[test]
fn an_external_dns_says_anew_whose_its_own_records_are_and_nobody_elses() {
    let text =
        |owner: &str, more: &str| format!("\"heritage=external-dns,external-dns/owner={owner}{more}\"");
    let (mine, anew, theirs) = (text("me", ""), text("me", ",external-dns/resource=x"), text("you", ""));
    let at = "a-old.apps.x.test";
    for (told, wanted) in [(&[][..], &[&*anew][..]), (&[&*anew], &[&*anew]), (&[&*anew], &[])] {
        assert_eq!(judged(&[wish(at, Kind::Txt, told, wanted)]).map(|steps| steps.len()), Ok(1));
    }
    // One that was never written.
    let steps = judged(&[wish("a-new.apps.x.test", Kind::Txt, &[&mine], &[&mine])]);
    assert_eq!(steps.map(|steps| steps.len()), Ok(1));
    for (told, wanted) in
        [(&[][..], &[&*theirs][..]), (&[&*theirs], &[&*theirs]), (&[&*theirs], &[]), (&[], &["x"])]
    {
        let refusal = judged(&[wish(at, Kind::Txt, told, wanted)]).expect_err("is refused");
        assert!(matches!(refusal, Refusal::Changed(_)), "{refusal:?}");
    }
}

#[test]
fn what_is_not_for_others_is_refused_for_good_and_says_why() {
    for (wish, words) in [
        (
            wish("web.x.test", Kind::Txt, &[], &["x"]),
            "web.x.test: belongs to an entry of BCS (eu1.sim-a.dns)",
        ),
        (wish("web.x.test", Kind::A, &["192.0.2.4"], &[]), "belongs to an entry of BCS"),
        (wish("eu1._bcs.x.test", Kind::Txt, &[], &["x"]), "belongs to an entry of BCS (every sidecar)"),
        (wish("x.example", Kind::A, &[], &["192.0.2.4"]), "expected a name at or below x.test"),
        (wish("x.test", Kind::Ns, &["ns.x.test"], &["ns2.x.test"]), "not for others to say"),
        (wish("x.test", Kind::Cname, &[], &["y.test"]), "at the top of a zone"),
        (wish("c.x.test", Kind::Cname, &[], &["y.test", "z.test"]), "has 2 aliases"),
        (wish("old.apps.x.test", Kind::Cname, &[], &["y.test"]), "cannot stand beside A"),
        (wish("caa.apps.x.test", Kind::Cname, &[], &["y.test"]), "cannot stand beside other records"),
        (
            wish("h.sub.x.test", Kind::A, &[], &["192.0.2.4"]),
            "lies in sub.x.test, which is a zone of its own",
        ),
        (wish("web.x.test", Kind::Ns, &[], &["ns.x.test"]), "belongs to an entry of BCS"),
    ] {
        let refusal = judged(std::slice::from_ref(&wish)).expect_err(words);
        assert!(matches!(&refusal, Refusal::Never(why) if why.contains(words)), "{refusal:?}");
    }
    let mut view = zone();
    view.belongs("api.shop.x.test".to_owned(), "eu1.sim-a.dns");
    let hides = wish("shop.x.test", Kind::Ns, &[], &["ns.x.test"]);
    let refusal = judge(&view, &all(), 30, &[hides]).expect_err("is refused");
    assert!(
        matches!(&refusal, Refusal::Never(why) if why.contains("would hide api.shop.x.test")),
        "{refusal:?}"
    );
}

#[test]
fn an_alias_takes_the_place_of_addresses_when_they_go_in_the_same_change() {
    let old = &["192.0.2.2", "192.0.2.3"];
    let both = [
        wish("old.apps.x.test", Kind::A, old, &[]),
        wish("old.apps.x.test", Kind::Cname, &[], &["web.y.test"]),
    ];
    assert_eq!(judged(&both).map(|steps| steps.len()), Ok(2));
}

#[test]
fn what_does_not_fit_goes_in_rounds_whose_a_record_is_first_when_it_comes_and_last_when_it_goes() {
    let step = |name: String, kind: Kind, before: &[&str], after: &[&str]| Step {
        name,
        kind,
        before: Set { ttl: 1, data: set(kind, before) },
        after: Set { ttl: 1, data: set(kind, after) },
        beside: BTreeSet::new(),
    };
    let mut steps = Vec::new();
    for i in 0..20 {
        steps.push(step(format!("b{i}.x.test"), Kind::A, &[], &["192.0.2.1"]));
        steps.push(step(format!("b{i}.x.test"), Kind::Cname, &["y.test"], &[]));
        steps.push(step(format!("a-b{i}.x.test"), Kind::Txt, &[], &["mine"]));
        steps.push(step(format!("cname-b{i}.x.test"), Kind::Txt, &["mine"], &[]));
    }
    let whole = parts(steps.clone(), 60_000).expect("fits");
    assert_eq!((whole.len(), whole[0].len()), (1, 80));
    let rounds = parts(steps.clone(), 700).expect("fits");
    assert!(rounds.len() > 3);
    let order: Vec<&str> = rounds.iter().flatten().map(|step| &step.name[..1]).collect();
    assert!(order[..20].iter().all(|first| *first == "a") && order[60..].iter().all(|first| *first == "c"));
    for round in &rounds {
        let both = |name: &str| round.iter().filter(|step| step.name == name).count();
        assert!(round.iter().all(|step| !step.name.starts_with('b') || both(&step.name) == 2));
    }
    let why = parts(steps, 50).expect_err("is too large");
    assert!(why.contains("more than the registry takes at once"), "{why}");
    // Where its name tells it, a text is never parted from its record.
    let text = &["heritage=external-dns,external-dns/owner=me"];
    let pairs = (0..20).flat_map(|i| {
        let record = step(format!("b{i}.x.test"), Kind::A, &[], &["192.0.2.1"]);
        [record, step(format!("a-b{i}.x.test"), Kind::Txt, &[], text)]
    });
    for round in parts(pairs.collect(), 700).expect("fits") {
        let texts = round.iter().filter(|step| step.kind == Kind::Txt).count();
        assert_eq!(texts * 2, round.len());
    }
}
