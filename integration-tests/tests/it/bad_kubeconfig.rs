//! A kubeconfig that is no good is refused when a cluster is imported, with the field, and without telling its secrets.

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Kubesim, Lab, Options, Up, free_port};

async fn import(up: &Up, lab: &Lab, name: &str, text: Option<&str>, words: &[&str]) -> Result<()> {
    let file = lab.path().join(name);
    if let Some(text) = text {
        std::fs::write(&file, text)?;
    }
    let path = file.to_str().context("a path of characters")?;
    let ran = up.cli().run(&["import", "cluster", "sim-c", "--kubeconfig", path]).await?.expect(3)?;
    for word in words.iter().chain(&["spec.kubeconfig", path]) {
        ensure!(ran.text().contains(word), "{word:?} is not said by {ran}");
    }
    ensure!(!ran.text().contains("hush-hush"), "a secret is told by {ran}");
    Ok(())
}

#[tokio::test]
async fn a_kubeconfig_that_is_no_good_is_refused_with_its_field() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let sim = Kubesim::start(lab, "sim-c", 1).await?;
        let good = std::fs::read_to_string(&sim.kubeconfig)?;
        let nowhere = good.replace(&sim.server.url, &format!("https://127.0.0.1:{}", free_port()?));
        let refused = good.replace(&sim.server.token, "hush-hush");
        import(&up, lab, "missing", None, &["does not exist"]).await?;
        import(&up, lab, "garbage", Some("clusters: hush-hush"), &["no kubeconfig"]).await?;
        import(&up, lab, "nowhere", Some(&nowhere), &["does not answer", "unreachable"]).await?;
        import(&up, lab, "refused", Some(&refused), &["refused"]).await?;
        up.cli().run(&["get", "clusters", "sim-c"]).await?.expect(1)?;
        let file = sim.kubeconfig.to_str().context("a path of characters")?;
        up.cli().ok(&["import", "cluster", "sim-c", "--kubeconfig", file]).await?;
        up.cli().ok(&["get", "clusters", "sim-c"]).await?;
        Ok(())
    })
    .await
}
