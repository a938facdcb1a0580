use super::*;

fn listing<T>(items: Vec<T>) -> Listing<T> {
    Listing { items, as_of: sample::as_of(), revision: Some(12), with_project: false, single: false }
}

/// Tables are compared without the ends of lines and without colours.
fn plain(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    text.lines().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_table_has_no_borders_and_ages_against_the_answer() {
    let text = listing(vec![sample::app("shop-web")]).text(Format::Table).expect("a table");
    let expected = "\
NAME       PHASE         AVAILABLE   UPDATED   IMAGE         CLUSTERS              AGE   WHY
shop-web   Progressing   4/6         5         shop/web:v1   sim-a:3/4,sim-b:1/2   50m   -";
    assert_eq!(plain(&text), expected);
}

#[test]
fn wide_and_all_projects_add_columns() {
    let wide = Listing { with_project: true, ..listing(vec![sample::endpoint("shop-web-1")]) };
    let text = plain(&wide.text(Format::Wide).expect("a table"));
    let expected = "\
PROJECT   APP        INSTANCE     CLUSTER   ADDRESS          PHASE   REVISION   SINCE   SEEN   NODE      ZONE   WEIGHT   GENERATION   UID   WHY
demo      shop-web   shop-web-1   sim-a     127.1.0.7:8080   Ready   6d4f       60m     30s    sim-a-0   z1     100      1            u-1   -";
    assert_eq!(text, expected);
}

#[test]
fn programs_get_all_of_it() {
    let many = listing(vec![sample::app("shop-web")]);
    let json: serde_json::Value =
        serde_json::from_str(&many.text(Format::Json).expect("JSON")).expect("is JSON");
    assert_eq!((&json["revision"], &json["items"][0]["status"]["available"]), (&12.into(), &4.into()));
    let one = Listing { single: true, ..many };
    let yaml = one.text(Format::Yaml).expect("YAML");
    let back: serde_json::Value = serde_saphyr::from_str(&yaml).expect("is YAML");
    assert_eq!(back, serde_json::to_value(sample::app("shop-web")).expect("is JSON"));
    assert_eq!(one.text(Format::Name).expect("names"), "app/shop-web");
}

#[test]
fn a_description_says_what_is_wanted_what_is_and_why_it_waits() {
    let mut app = sample::app("shop-web");
    app.status.reason = Some("waits for registry dns".to_owned());
    app.status.blocking = Some("sim-a/shop-web-2".to_owned());
    let endpoints = [sample::endpoint("shop-web-1"), sample::endpoint("shop-web-2")];
    let registrations = [sample::registration("shop-web-1", "file")];
    let text = plain(&detail::app(&app, &endpoints, &registrations, &[], sample::as_of()));
    for words in [
        "app/shop-web in project demo",
        "4/6 available",
        "waits for registry dns (sim-a/shop-web-2), since 60s",
        "shop-web-1   sim-a     127.1.0.7:8080   Ready",
        "file:Confirmed",
        "placement:",
    ] {
        assert!(text.contains(words), "{words:?} is missing in\n{text}");
    }
}
