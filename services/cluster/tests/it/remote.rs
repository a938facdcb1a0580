//! Agents as processes of their own.

use std::{net::SocketAddr, path::PathBuf};

use bcs_cluster::remote::{Arguments, run};
use bcs_kit::Tasks;
use bcs_schemas::{
    bucket::ENDPOINTS,
    cluster::Health,
    step::{Instance, Step, StepResult},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Duration, Instant, sleep},
};

use crate::{
    agent::{key, ready, scale_up},
    kubectl,
    manifest::{MANIFESTS, slice},
    site::{LONG, Site, free_address, get, import, name, until},
};

/// An agent with threads of its own, so that it can be stopped dead.
struct Remote {
    runtime: Option<Runtime>,
    tasks: Tasks,
    health: SocketAddr,
}

impl Remote {
    fn begin(site: &Site) -> Self {
        Self::begin_with(site, None)
    }

    fn begin_with(site: &Site, injection: Option<PathBuf>) -> Self {
        let (runtime, tasks) = (Builder::new_multi_thread().enable_all().build(), Tasks::new());
        let (runtime, health) = (runtime.expect("a runtime"), free_address());
        let arguments = Self::arguments(site, health, injection);
        let group = tasks.clone();
        runtime.spawn(async move { run(arguments, &group).await });
        Self { runtime: Some(runtime), tasks, health }
    }

    fn arguments(site: &Site, health: SocketAddr, injection: Option<PathBuf>) -> Arguments {
        Arguments {
            cluster: name("far"),
            kubeconfig: site.kubeconfig(),
            context: None,
            nats: site.bus_url.clone(),
            site: name("local"),
            credentials: None,
            ca: None,
            health_address: Some(health),
            injection,
        }
    }

    async fn page(&self, path: &str) -> Result<(u16, String), String> {
        get(&format!("http://{}{path}", self.health)).await.map_err(|e| e.to_string())
    }

    /// Waits until the page says these words.
    async fn says(&self, path: &str, words: &str) {
        let deadline = Instant::now() + LONG;
        loop {
            let page = self.page(path).await;
            if page.as_ref().is_ok_and(|(status, text)| *status == 200 && text.contains(words)) {
                return;
            }
            assert!(Instant::now() < deadline, "{path} never says {words}: {page:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.runtime.take().expect("lives").shutdown_background();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A site whose service cannot reach the cluster: only the agent has its kubeconfig.
async fn far() -> Site {
    let site = Site::open().await;
    site.send("far", import(std::path::Path::new("/nonexistent/only-the-agent-has-it"), "remote")).await;
    site
}

#[tokio::test]
async fn a_remote_agent_serves_a_cluster_that_the_service_cannot_reach_and_tells_how_it_does() {
    let site = far().await;
    let remote = Remote::begin(&site);
    site.health("far", Health::Healthy).await;
    let endpoints = site.view(ENDPOINTS).await;
    assert_eq!(site.step("far", 1, scale_up(2)).await, StepResult::Done);
    until(&endpoints, ready(2)).await;
    assert_eq!(site.step("far", 0, scale_up(9)).await, StepResult::Stale { stamped: 1 });

    assert_eq!(remote.page("/healthz").await, Ok((200, "ok\n".to_owned())));
    remote.says("/readyz", "ready").await;
    for (metric, value) in [
        ("steps_total{cluster=\"far\",result=\"done\"}", "1"),
        ("steps_total{cluster=\"far\",result=\"stale\"}", "1"),
        ("relists_total{cluster=\"far\",kind=\"nodes\"}", "1"),
        ("leading{cluster=\"far\"}", "1"),
        ("observation_lag_seconds_count{cluster=\"far\"}", ""),
    ] {
        remote.says("/metrics", &format!("bcs_agent_{metric} {value}")).await;
    }
    // What it cannot see it cannot do its work on.
    site.sim.faults().set_api_errors(1.0);
    site.sim.faults().drop_watches();
    let deadline = Instant::now() + LONG;
    while remote.page("/readyz").await.is_ok_and(|(status, _)| status == 200) {
        assert!(Instant::now() < deadline, "it is ready though it is blind");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(remote.tasks.stop(LONG).await);
    site.close().await;
}

#[tokio::test]
async fn of_two_agents_only_one_has_the_cluster_and_the_other_goes_on_when_it_is_killed() {
    let site = far().await;
    let first = Remote::begin(&site);
    first.says("/metrics", "leading{cluster=\"far\"} 1").await;
    site.health("far", Health::Healthy).await;
    let second = Remote::begin(&site);
    second.says("/metrics", "leading{cluster=\"far\"} 0").await;
    second.says("/readyz", "ready").await;
    let endpoints = site.view(ENDPOINTS).await;
    assert_eq!(site.step("far", 1, scale_up(2)).await, StepResult::Done);
    let two = until(&endpoints, ready(2)).await;
    assert_eq!(site.sim.stats().open_watches, 3, "one agent looks at pods, sets and nodes");

    first.kill();
    second.says("/metrics", "leading{cluster=\"far\"} 1").await;
    let deadline = Instant::now() + LONG;
    while site.step("far", 1, scale_up(3)).await != StepResult::Done {
        assert!(Instant::now() < deadline, "the other agent does nothing");
    }
    let three = until(&endpoints, ready(3)).await;
    assert!(two.iter().all(|before| three.contains(before)), "what was known is as it was");
    assert!(second.tasks.stop(LONG).await);
    site.close().await;
}

#[tokio::test]
async fn an_agent_puts_the_sidecar_into_pods_and_sees_them_as_before() {
    let site = far().await;
    let address = free_address();
    for text in MANIFESTS[..3].iter().map(|(_, text)| (*text).to_owned()).chain([slice(address)]) {
        kubectl::apply(&site.kubeconfig(), &text).await;
    }
    let settings = site.dir.path().join("injection.toml");
    let text = format!(
        "listen = \"{address}\"\nsidecar.image = \"sidecar:1\"\nsidecar.bus.url = \"{}\"\n",
        site.bus_url
    );
    std::fs::write(&settings, text).expect("writes");
    let remote = Remote::begin_with(&site, Some(settings));
    remote.says("/readyz", "ready").await;
    site.health("far", Health::Healthy).await;
    let endpoints = site.view(ENDPOINTS).await;
    let mut step = scale_up(2);
    if let Step::ScaleUp { labels, .. } = &mut step {
        labels.insert("bcs.io/inject".to_owned(), "enabled".to_owned());
    }
    assert_eq!(site.step("far", 1, step).await, StepResult::Done);
    let two = until(&endpoints, ready(2)).await;
    for endpoint in &two {
        let ports: Vec<u16> = endpoint.ports.iter().map(|port| port.port).collect();
        assert_eq!(ports, [8080], "those of the sidecar are none of the application");
    }
    remote.says("/metrics", "bcs_agent_reviews_total{cluster=\"far\",result=\"injected\"} 2").await;
    // Their stop goes through the hold, which has nothing to wait for here.
    let victim = Instance { name: two[0].instance.clone(), uid: two[0].uid.clone() };
    let down = Step::ScaleDown { workload: key(), replicas: 1, from: Some(2), victims: vec![victim] };
    assert_eq!(site.step("far", 1, down).await, StepResult::Done);
    until(&endpoints, ready(1)).await;
    assert!(remote.tasks.stop(LONG).await);
    site.close().await;
}

#[tokio::test]
async fn an_agent_whose_webhook_is_set_up_wrongly_ends_and_names_the_field() {
    let site = far().await;
    let settings = site.dir.path().join("injection.toml");
    std::fs::write(&settings, "sidecar.bus.url = \"nats://bus:4222\"\n").expect("writes");
    let arguments = Remote::arguments(&site, free_address(), Some(settings));
    let ended = Box::pin(run(arguments, &Tasks::new())).await.expect_err("has no image");
    let said = bcs_kit::telemetry::chain(&ended);
    assert!(said.contains("--injection: ") && said.contains("sidecar.image: "), "{said}");
    site.close().await;
}
