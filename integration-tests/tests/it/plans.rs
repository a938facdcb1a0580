//! What would happen is told before anything is done, and a plan is done exactly so, once, or not at all.

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Options, Ran, Ready, Up, wait_until};
use serde_json::{Value, json};

use crate::world::{LONG, app, apply, until_view, view};

/// A platform with an application `good` of four instances on both clusters.
async fn platform(lab: &Lab) -> Result<Up> {
    let up = Up::start(lab, Options::default()).await?;
    apply(&up, &good("v1"), &["--wait"]).await?;
    // The end of a first rollout is a decision too, and moves the revision once more.
    until_view(&up, "good", "has its rollout behind it", |app| {
        app["status"]["healthy_revision"] == app["status"]["revision"]
    })
    .await?;
    Ok(up)
}

fn good(tag: &str) -> Value {
    app("good", &["sim-a", "sim-b"], 4, tag, Value::Null)
}

fn says(ran: &Ran, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(ran.text().contains(word), "{word:?} is not said by {ran}");
    }
    ensure!(!ran.stdout.contains('\x1b'), "colours in a pipe: {ran}");
    Ok(())
}

/// How far the journals are: nothing was decided while this stays.
async fn decided(up: &Up) -> Result<(u64, u64)> {
    let events = up.cli().json(&["events"]).await?;
    let items = events["items"].as_array().context("no events")?.clone();
    let about = |kind: &str| items.iter().filter(|e| e["actor"] != "system" && e["object"] == kind).count();
    Ok((u64::try_from(about("demo/app/good"))?, u64::try_from(about("system/cluster/sim-a"))?))
}

#[tokio::test]
async fn every_command_says_what_it_would_do_and_does_nothing() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = platform(lab).await?;
        let before = (decided(&up).await?, view(&up, "good").await?["revision"].clone());
        let on = format!("(planned on revision {})", before.1);
        let kubeconfig = up.data().join("clusters/sim-a/kubeconfig").display().to_string();
        let publish = "bcs.cmd.deploy.local.demo.app.good.scale";
        let cases: [(&[&str], &[&str]); 10] = [
            (
                &["scale", "app", "good", "--replicas", "7", "--plan"],
                &[
                    "~ app/good",
                    &on,
                    "spec:\n    -   replicas: 4\n    +   replicas: 7",
                    "4 → 7 instances: sim-a +2, sim-b +1",
                ],
            ),
            (&["scale", "app", "good", "--replicas", "4", "--dry-run"], &["= app/good", "1 unchanged"]),
            (&["restart", "app", "good", "--plan"], &["~ app/good", "replaces every instance"]),
            (
                &["delete", "app", "good", "--plan"],
                &["- app/good", "drains and stops 4 instances (sim-a 2, sim-b 2)"],
            ),
            (&["publish", publish, r#"{"replicas": 1}"#, "--plan"], &["4 → 1 instance: sim-a -1, sim-b -2"]),
            (
                &["label", "cluster", "sim-a", "zone=north", "--plan"],
                &["labels:\n", "+   zone: north", "1 to change"],
            ),
            (&["cordon", "sim-a", "sim-a-node-1", "--plan"], &["nothing new starts on node sim-a-node-1"]),
            (&["uncordon", "sim-a", "sim-a-node-1", "--plan"], &["may start on node sim-a-node-1"]),
            (&["delete", "cluster", "sim-a", "--plan"], &["- cluster/sim-a", "goes on running"]),
            (
                &["import", "cluster", "more", "--kubeconfig", &kubeconfig, "--plan"],
                &["+ cluster/more", "+   kubeconfig:", "1 to create"],
            ),
        ];
        for (arguments, words) in cases {
            let ran = up.cli().run(arguments).await?.expect(0)?;
            says(&ran, &[words, &["nothing was done"]].concat())?;
        }
        let two = format!("{}\n---\n{}", good("v2"), app("new", &["sim-a"], 2, "v1", Value::Null));
        let ran =
            up.cli().run_with(&["apply", "-f", "-", "--plan"], Some(two.as_bytes())).await?.expect(0)?;
        says(
            &ran,
            &[
                "-     tag: v1\n    +     tag: v2",
                "+ app/new",
                "starts 2 instances: sim-a 2",
                "1 to create, 1 to change",
            ],
        )?;
        let mixed = format!("{}\n---\n{}", good("v2"), app("bad", &["sim-z"], 1, "v1", Value::Null));
        let file = lab.path().join("mixed.json").display().to_string();
        let line = ["apply", "-f", "-", "--plan-file", &file];
        let ran = up.cli().run_with(&line, Some(mixed.as_bytes())).await?.expect(3)?;
        says(&ran, &["1 to change, 1 rejected", "app/bad was rejected (invalid)", "sim-z"])?;
        ensure!(!lab.path().join("mixed.json").exists(), "a plan that cannot be done was kept");
        let plan = up.cli().json(&["scale", "app", "good", "--replicas", "7", "--plan"]).await?;
        let step = &plan["commands"][0];
        ensure!(step["base_revision"] == before.1 && step["object"] == "demo/app/good", "{plan}");
        ensure!(step["after"]["spec"]["replicas"] == 7 && step["payload"]["replicas"] == 7, "{plan}");
        let after = (decided(&up).await?, view(&up, "good").await?["revision"].clone());
        ensure!(before == after, "something was done: {before:?}, {after:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_plan_is_done_exactly_so_and_once_or_says_what_has_moved() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = platform(lab).await?;
        let path = |name: &str| lab.path().join(name).display().to_string();
        let (first, second, third) = (path("first.json"), path("second.json"), path("third.json"));
        let both = format!("{}\n---\n{}", good("v2"), app("other", &["sim-b"], 1, "v1", Value::Null));
        let keep = ["apply", "-f", "-", "--plan-file", &first];
        let ran = up.cli().run_with(&keep, Some(both.as_bytes())).await?.expect(0)?;
        says(&ran, &["bcs apply --from-plan", &first])?;
        // Made of the same state, and of the next one.
        up.cli().ok(&["scale", "app", "good", "--replicas", "6", "--plan-file", &second]).await?;
        up.cli().ok(&["apply", "--from-plan", &first, "--wait"]).await?;
        until_view(&up, "good", "runs v2", |app| {
            app["spec"]["image"]["tag"] == "v2" && app["status"]["phase"] == "available"
        })
        .await?;

        // Once: a repeat tells the same, and nothing is decided anew, although the objects have moved on since.
        let done = decided(&up).await?;
        let tell = async || up.cli().json(&["apply", "--from-plan", &first]).await;
        let (again, once_more) = (tell().await?, tell().await?);
        ensure!(again == once_more && again.as_array().is_some_and(|all| all.len() == 2), "{again}");
        ensure!(decided(&up).await? == done, "a repeat was done again");

        // What was planned before that has moved: by whom, and nothing is done.
        let ran = up.cli().run(&["apply", "--from-plan", &second]).await?.expect(3)?;
        says(&ran, &["app/good was planned on revision", "applied by tester", "make it again"])?;
        ensure!(decided(&up).await? == done, "a plan that does not hold was done");

        // One object that moved holds up the others of its plan.
        let both = format!("{}\n---\n{}", app("other", &["sim-b"], 2, "v1", Value::Null), good("v3"));
        let keep = ["apply", "-f", "-", "--plan-file", &third];
        up.cli().run_with(&keep, Some(both.as_bytes())).await?.expect(0)?;
        up.cli().ok(&["scale", "app", "good", "--replicas", "5", "--actor", "ada"]).await?;
        let ran = up.cli().run(&["apply", "--from-plan", &third]).await?.expect(3)?;
        says(&ran, &["app/good was planned on revision", "scaled by ada at"])?;
        ensure!(view(&up, "other").await?["spec"]["replicas"] == 1, "half of a plan was done");

        let ran = up.cli().run(&["apply", "--from-plan", &path("nowhere.json")]).await?.expect(2)?;
        says(&ran, &["nowhere.json"])?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_would_be_decided_otherwise_now_is_not_done() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let file = lab.path().join("plan.json").display().to_string();
        // Its object does not exist and so cannot move; what it comes to depends on the labels of the clusters.
        let everywhere =
            json!({ "placement": { "selector": { "matchLabels": { "environment": "local" } } } });
        let document = app("wide", &[], 4, "v1", everywhere).to_string();
        let planned = async |options: &[&str]| {
            let arguments = [&["apply", "-f", "-"], options].concat();
            up.cli().run_with(&arguments, Some(document.as_bytes())).await?.expect(0)
        };
        says(&planned(&["--plan-file", &file]).await?, &["starts 4 instances: sim-a 2, sim-b 2"])?;
        up.cli().ok(&["label", "cluster", "sim-b", "environment=far"]).await?;
        wait_until(LONG, "the label is known to all", async || match planned(&["--plan"]).await {
            Ok(ran) if ran.stdout.contains("starts 4 instances: sim-a 4") => Ready(()),
            Ok(ran) => NotYet(ran.to_string()),
            Err(error) => NotYet(format!("{error:#}")),
        })
        .await?;
        let ran = up.cli().run(&["apply", "--from-plan", &file]).await?.expect(3)?;
        says(&ran, &["app/wide would be decided otherwise now", "\"sim-b\":2", "\"sim-a\":4"])?;
        let apps = up.cli().json(&["get", "apps"]).await?;
        ensure!(!apps.to_string().contains("wide"), "it was done: {apps}");
        Ok(())
    })
    .await
}
