//! Golden messages: one example of every message, kept as the bytes that were once written. A file in `golden/` is
//! never changed and must decode for ever; a new message type adds one.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    MessageSet, Millis, Name, TypeName,
    cluster::{
        ClusterCommand, ClusterEvent, ClusterHealthChanged, ClusterImported, ClusterLabelled, ClusterRemoved,
        CordonNode, Health, ImportCluster, LabelCluster, NodeCordoned, NodeGone, NodeUncordoned,
        RemoveCluster, UncordonNode,
    },
    codec::ContentType,
    deploy::{
        AppApplied, AppDeleted, AppDeletionRequested, AppPlaced, AppRestarted, AppScaled, ApplyApp,
        ClusterJoined, ClusterLeft, DeleteApp, DeployCommand, DeployEvent, LeftoversStopped, RestartApp,
        RolloutCompleted, RolloutStalled, RolloutStarted, ScaleApp,
    },
    resource::{
        AppSpec, ClusterSpec, Labels,
        app::{ClusterWeight, Drain, Image, Placement, Port, Registration, Resources, Update},
        cluster::SecretRef,
    },
};

/// The examples, by type name: `bcs.deploy.app.scale.v1`.
pub fn examples() -> BTreeMap<String, Bytes> {
    let commands = deploy_commands().into_iter().map(|m| example(&m));
    let events = deploy_events().into_iter().map(|m| example(&m));
    let clusters = cluster_commands().into_iter().map(|m| example(&m));
    let facts = cluster_events().into_iter().map(|m| example(&m));
    commands.chain(events).chain(clusters).chain(facts).collect()
}

/// Decodes a golden file as what its name says it is, and returns it as JSON.
pub fn read(name: &TypeName, payload: &[u8]) -> Result<serde_json::Value, String> {
    fn as_member<M: MessageSet>(name: &TypeName, payload: &[u8]) -> Result<serde_json::Value, String> {
        let TypeName { kind, verb, version, .. } = name;
        let message =
            M::decode(kind, verb, *version, ContentType::MessagePack, payload).map_err(|e| e.to_string())?;
        serde_json::to_value(&message).map_err(|e| e.to_string())
    }
    let tries = [
        as_member::<DeployCommand>(name, payload),
        as_member::<DeployEvent>(name, payload),
        as_member::<ClusterCommand>(name, payload),
        as_member::<ClusterEvent>(name, payload),
    ];
    let failed: Vec<String> = tries.iter().filter_map(|t| t.as_ref().err().cloned()).collect();
    tries.into_iter().find_map(Result::ok).ok_or_else(|| failed.join("; "))
}

fn example<M: MessageSet>(message: &M) -> (String, Bytes) {
    (message.type_name().to_string(), message.encode().unwrap_or_default())
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|_| Name::system())
}

fn labels() -> Labels {
    [("team".to_owned(), "shop".to_owned())].into()
}

fn app_spec() -> AppSpec {
    AppSpec {
        replicas: 6,
        placement: Placement {
            clusters: vec![
                ClusterWeight { name: name("sim-a"), weight: 2 },
                ClusterWeight { name: name("sim-b"), weight: 1 },
            ],
            selector: None,
        },
        image: Image { repository: "shop/web".to_owned(), tag: "v1".to_owned() },
        command: vec!["/web".to_owned()],
        args: vec!["--port=8080".to_owned()],
        env: [("MODE".to_owned(), "live".to_owned())].into(),
        ports: vec![Port { name: name("http"), port: 8080, protocol: Default::default() }],
        resources: Resources { cpu: Some("250m".to_owned()), memory: Some("128Mi".to_owned()) },
        annotations: [("example/a".to_owned(), "b".to_owned())].into(),
        stop_timeout: Millis::from_secs(30),
        register: Some(vec![Registration {
            registry: name("etcd"),
            port: Some(name("http")),
            name: None,
            weight: None,
        }]),
        readiness_gate: false,
        update: Update::default(),
        drain: Drain::default(),
    }
}

fn cluster_spec() -> ClusterSpec {
    ClusterSpec {
        engine: Default::default(),
        kubeconfig: SecretRef { file: "/etc/bcs/sim-a.kubeconfig".into() },
        context: Some("admin".to_owned()),
        agent: Default::default(),
    }
}

fn deploy_commands() -> Vec<DeployCommand> {
    vec![
        ApplyApp { labels: labels(), spec: app_spec() }.into(),
        ScaleApp { replicas: 8, remove: vec!["shop-web-1-x".to_owned()] }.into(),
        RestartApp {}.into(),
        DeleteApp::default().into(),
    ]
}

fn deploy_events() -> Vec<DeployEvent> {
    let template = app_spec().template(1);
    let revision = template.revision();
    vec![
        AppApplied { generation: 1, labels: labels(), spec: app_spec() }.into(),
        AppScaled { generation: 2, replicas: 8, remove: vec!["shop-web-1-x".to_owned()] }.into(),
        AppRestarted { generation: 3, restarts: 1 }.into(),
        AppPlaced { shares: [(name("sim-a"), 5), (name("sim-b"), 3)].into() }.into(),
        RolloutStarted { revision: revision.clone(), template }.into(),
        RolloutCompleted { revision: revision.clone() }.into(),
        RolloutStalled { revision, reason: "image pull fails".to_owned(), blocking: "sim-a/x".to_owned() }
            .into(),
        AppDeletionRequested { generation: 4, force: false }.into(),
        AppDeleted::default().into(),
        LeftoversStopped { clusters: [name("sim-a")].into() }.into(),
        ClusterJoined { labels: labels() }.into(),
        ClusterLeft {}.into(),
    ]
}

fn cluster_commands() -> Vec<ClusterCommand> {
    vec![
        ImportCluster { labels: labels(), spec: cluster_spec() }.into(),
        LabelCluster { labels: labels() }.into(),
        RemoveCluster {}.into(),
        CordonNode { node: "node-1".to_owned() }.into(),
        UncordonNode { node: "node-1".to_owned() }.into(),
    ]
}

fn cluster_events() -> Vec<ClusterEvent> {
    let changed = ClusterHealthChanged {
        from: Health::Unknown,
        to: Health::Healthy,
        reason: "2 of 2 probes answered".to_owned(),
    };
    vec![
        ClusterImported { generation: 1, labels: labels(), spec: cluster_spec() }.into(),
        ClusterLabelled { labels: labels() }.into(),
        ClusterRemoved {}.into(),
        changed.into(),
        NodeCordoned { node: "node-1".to_owned(), generation: 2 }.into(),
        NodeUncordoned { node: "node-1".to_owned(), generation: 3 }.into(),
        NodeGone { node: "node-1".to_owned(), generation: 3 }.into(),
    ]
}
