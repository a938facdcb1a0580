//! Values for this crate's own tests.

use bcs_schemas::{
    Name,
    observation::{Endpoint, EndpointPhase, EndpointPort},
    resource::app::Protocol,
};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// Instance `number` of an application in cluster `sim-a`, ready.
pub(crate) fn endpoint(app: &str, number: u32) -> Endpoint {
    let [_, b, c, d] = number.to_be_bytes();
    Endpoint {
        cluster: name("sim-a"),
        project: name("shop"),
        app: name(app),
        revision: name("r1"),
        instance: format!("{app}-{number}"),
        uid: format!("uid-{app}-{number}"),
        node: Some("n1".into()),
        zone: None,
        addresses: vec![[10, b, c, d].into()],
        ports: vec![EndpointPort { name: name("http"), port: 8080, protocol: Protocol::default() }],
        weight: 100,
        labels: Default::default(),
        register: None,
        registered: None,
        phase: EndpointPhase::Ready,
        stopping: false,
        reason: None,
        since: jiff::Timestamp::UNIX_EPOCH,
        generation: 1,
        observed_at: jiff::Timestamp::UNIX_EPOCH,
    }
}
