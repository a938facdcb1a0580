//! `docs/operations.md` is true: its example runs, and every other command in it exists with its options.

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Cli, Failed, LONG, Lab, NotYet, Options, Up, wait_until};
use tokio::process::Command;

use crate::other_language::{SHOP, example_of, path_with_bcs};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");

/// Every `bcs …` in code font of a text, as words; what stands for something else is replaced by something.
fn commands(text: &str) -> Vec<Vec<String>> {
    let fences = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let spans = text.split('`').skip(1).step_by(2);
    let clean = |line: &str| {
        let line = line.trim().strip_prefix("bcs ")?;
        let line = line.split(" #").next()?.replace("{{ $labels.", "x-").replace(" }}", "");
        let line = line.split(['|', '>', ';', '&']).next()?;
        Some(line.split_whitespace().map(something).collect())
    };
    fences.chain(spans).filter_map(clean).collect()
}

/// For a word in capitals, such as NAME, something that may stand there.
fn something(word: &str) -> String {
    match word {
        "NUMBER" => "1".to_owned(),
        "ID" => uuid::Uuid::nil().to_string(),
        name if name.chars().all(|c| c.is_ascii_uppercase()) => name.to_lowercase(),
        _ => word.to_owned(),
    }
}

/// Each command exists, and takes the options that it is given.
pub(crate) async fn commands_exist(cli: &Cli, text: &str) -> Result<()> {
    let found = commands(text);
    ensure!(!found.is_empty(), "no command is named");
    for words in found {
        let line: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        cli.run(&line).await?.expect(0)?;
    }
    Ok(())
}

#[tokio::test]
async fn the_page_about_operations_is_true() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        up.cli().ok(&["apply", "-f", SHOP, "--wait"]).await?;
        // Instances can be there before a cluster has been called healthy.
        wait_until(LONG, "all is well", async || match up.cli().run(&["doctor", "-q"]).await {
            Ok(ended) => ended.expect(0).map(drop).into(),
            Err(error) => NotYet(error.to_string()),
        })
        .await?;
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(example_of(PAGE, "bash")?)
            .env("PATH", path_with_bcs()?)
            .current_dir(lab.path());
        command.env("BCS_NATS_URL", up.nats()).env("HOME", &up.cli().home);
        command.env("BCS_CONFIG", lab.path().join("none.toml")).env("BCS_HEALTH", up.health());
        let output =
            tokio::time::timeout(std::time::Duration::from_secs(120), command.kill_on_drop(true).output());
        let output = output.await.context("the example hangs")??;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(output.status.success(), "{}", said.concat());
        ensure!(said[0].contains("services") && said[0].contains("bcs_deploy_commands_total"), "{}", said[0]);
        commands_exist(&up.cli(), &std::fs::read_to_string(PAGE)?).await
    })
    .await
}

#[test]
fn commands_are_found_in_text_and_in_fences() {
    let text = "Run `bcs dlq show NUMBER`, or `nothing`.\n```bash\nbcs get apps | head   # all\nls\nbcs describe app {{ $labels.app }}\n```\n";
    let found: Vec<String> = commands(text).into_iter().map(|words| words.join(" ")).collect();
    assert_eq!(found, ["get apps", "describe app x-app", "dlq show 1"]);
}
