//! Envoys whose wires to two sidecars can be disturbed.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use bcs_testbus::Wire;

use super::server::Envoy;
use crate::{
    contract::Site,
    faults::{Able, Fault, Faulty, Line},
    fixture::*,
};

/// An Envoy that finds one of two sidecars, each behind a wire of its own: only the one that keeps the registry listens.
struct Edge {
    envoy: Envoy,
    sidecars: [u16; 2],
    wires: std::cell::RefCell<Vec<Wire>>,
}

impl Edge {
    async fn asking(api: &'static str) -> Self {
        let sidecars = [free_port(), free_port()];
        let mut wires = Vec::new();
        for port in sidecars {
            wires.push(Wire::to(format!("127.0.0.1:{port}")).await.expect("a wire"));
        }
        let port =
            |wire: &Wire| wire.address().rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        let (near, other) = (port(&wires[0]), Some(port(&wires[1])));
        let mut envoy = Envoy { api, other, ..Envoy::new("edge-1", near) };
        envoy.up().await;
        Self { envoy, sidecars, wires: std::cell::RefCell::new(wires) }
    }
}

impl Site for Edge {
    async fn start() -> Self {
        Self::asking("GRPC").await
    }

    fn spec(&self) -> serde_json::Value {
        self.envoy.spec()
    }

    async fn addresses(&self) -> BTreeSet<IpAddr> {
        self.envoy.addresses().await
    }

    async fn add_foreign(&self, address: IpAddr) {
        self.envoy.add_foreign(address).await;
    }
}

/// What holds for both ways of speaking.
impl Edge {
    /// A wire is disturbed for less than an Envoy is waited for.
    const ABLE: Able =
        Able { longest: Duration::from_millis(1500), ..Able::of(&[Able::WAY, &[Fault::Emptied]]) };

    fn lines(&self) -> Vec<(Line, serde_json::Value)> {
        let wires = self.wires.take().into_iter().zip(self.sidecars);
        wires
            .map(|(wire, port)| {
                let more = serde_json::json!({ "listen": format!("127.0.0.1:{port}"), "forgetAfter": "3s" });
                (Line::Wire(wire), self.envoy.spec_with(more))
            })
            .collect()
    }

    async fn theirs(&self) -> String {
        format!("{:?}", self.envoy.hosts("theirs").await)
    }
}

impl Faulty for Edge {
    const NAME: &'static str = "envoy";
    const ABLE: Able = Edge::ABLE;

    async fn lines(&self, _: u16) -> Vec<(Line, serde_json::Value)> {
        self.lines()
    }

    /// It keeps nothing.
    async fn down(&mut self, _: bool) {
        self.envoy.process = None;
    }

    async fn up(&mut self) {
        self.envoy.up().await;
    }

    async fn theirs(&self) -> String {
        self.theirs().await
    }

    async fn take_out(&self, _: IpAddr) {}
}

/// The same over the other way of speaking.
struct DeltaEdge(Edge);

impl Site for DeltaEdge {
    async fn start() -> Self {
        Self(Edge::asking("DELTA_GRPC").await)
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

impl Faulty for DeltaEdge {
    const NAME: &'static str = "envoy-delta";
    const ABLE: Able = Edge::ABLE;

    async fn lines(&self, _: u16) -> Vec<(Line, serde_json::Value)> {
        self.0.lines()
    }

    async fn down(&mut self, with_its_data: bool) {
        Faulty::down(&mut self.0, with_its_data).await;
    }

    async fn up(&mut self) {
        Faulty::up(&mut self.0).await;
    }

    async fn theirs(&self) -> String {
        self.0.theirs().await
    }

    async fn take_out(&self, _: IpAddr) {}
}

mod state_of_the_world {
    crate::faults::faults!(super::Edge);
}

mod delta {
    crate::faults::faults!(super::DeltaEdge);
}
