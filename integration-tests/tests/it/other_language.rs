//! The examples of `docs/bus.md` are complete and true: each is taken out of the page and run.

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, Options, Up, bcs};
use tokio::process::Command;

use crate::secure::add_context;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bus.md");
pub(crate) const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop.yaml");

/// The code behind the marker `<!-- run:<language> -->`.
pub(crate) fn example(language: &str) -> Result<String> {
    example_of(PAGE, language)
}

/// The same, of another page.
pub(crate) fn example_of(file: &str, language: &str) -> Result<String> {
    let page = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    let marker = format!("<!-- run:{language} -->");
    let (_, rest) = page.split_once(&marker).with_context(|| format!("{file} has no {marker}"))?;
    let (fence, code) = rest.trim_start().split_once('\n').context("no code behind the marker")?;
    ensure!(fence.starts_with("```"), "{fence:?} is no fence");
    Ok(code.split_once("\n```").context("the fence is open")?.0.to_owned())
}

/// Where programs are found, `bcs` among them.
pub(crate) fn path_with_bcs() -> Result<OsString> {
    let bcs = bcs()?;
    let beside = bcs.parent().context("bcs lies nowhere")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(beside).chain(std::env::split_paths(&path)))?)
}

/// Runs a program against an open platform with the shop on it.
async fn run(lab: &Lab, program: &OsStr, file: &str, code: &str) -> Result<()> {
    let up = Up::start(lab, Options::default()).await?;
    up.cli().ok(&["apply", "-f", SHOP, "--wait"]).await?;
    run_on(lab, &up, program, (file, code)).await
}

async fn run_on(lab: &Lab, up: &Up, program: &OsStr, (file, code): (&str, &str)) -> Result<()> {
    let script = lab.path().join(file);
    std::fs::write(&script, code)?;
    let mut command = Command::new(program);
    command.arg(&script).current_dir(lab.path()).env("PATH", path_with_bcs()?).kill_on_drop(true);
    command
        .env("BCS_NATS_URL", up.nats())
        .env("NATS_URL", up.nats())
        .env("NATS_CA", up.ca())
        .env("NKEY_SEED_FILE", up.data().join("bus/project-demo.nk"))
        .env("BCS_CONFIG", lab.path().join("no.toml"));
    let output = tokio::time::timeout(Duration::from_secs(120), command.output()).await;
    let output = output
        .context("the example hangs")?
        .with_context(|| format!("{} cannot be run", program.display()))?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(
        !["nats", "nkeys"].iter().any(|module| said.contains(&format!("No module named '{module}'"))),
        "{} lacks nats-py[nkeys]: install it, or name a python that has it in BCS_TEST_PYTHON",
        program.display()
    );
    ensure!(output.status.success(), "{file} ended with {}:\n{said}", output.status);
    Ok(())
}

#[tokio::test]
async fn the_python_example_of_the_documentation_works() -> Result<(), Failed> {
    Lab::run(async |lab| run(lab, &python(), "example.py", &example("python")?).await).await
}

/// TLS, keys and signatures are those of Python's own libraries: nothing of ours is on that side.
#[tokio::test]
async fn the_python_example_with_a_key_works() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options { secure: true, ..Options::default() }).await?;
        let cli = up.cli();
        add_context(&cli, "local", &up.with_key("operator")).await?;
        cli.ok(&["apply", "-f", SHOP, "--wait"]).await?;
        run_on(lab, &up, &python(), ("with_key.py", &example("python-with-key")?)).await?;
        let history = cli.ok(&["history", "app", "shop-web"]).await?;
        ensure!(history.contains("ada@project-demo"), "{history}");
        Ok(())
    })
    .await
}

fn python() -> OsString {
    std::env::var_os("BCS_TEST_PYTHON").unwrap_or_else(|| "python3".into())
}

#[tokio::test]
async fn the_shell_example_of_the_documentation_works() -> Result<(), Failed> {
    Lab::run(async |lab| run(lab, "bash".as_ref(), "example.sh", &example("shell")?).await).await
}
