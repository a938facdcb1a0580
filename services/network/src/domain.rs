//! Pure: which addresses are in use, from what is observed.

use std::{fmt, net::IpAddr};

use bcs_schemas::{
    observation::{Endpoint, EndpointPhase},
    query::{AddressView, Query},
};

/// The addresses that fit the question, in their order. An instance that has ended holds none.
pub(crate) fn in_use<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, query: &Query) -> Vec<AddressView> {
    let fits = |e: &&Endpoint| {
        query.project.as_ref().is_none_or(|p| *p == e.project)
            && query.name.as_ref().is_none_or(|n| *n == e.app)
    };
    let mut views: Vec<AddressView> = endpoints
        .filter(|e| e.phase != EndpointPhase::Gone)
        .filter(fits)
        .flat_map(|e| {
            e.addresses.iter().map(|address| AddressView {
                address: *address,
                cluster: e.cluster.clone(),
                project: e.project.clone(),
                app: e.app.clone(),
                instance: e.instance.clone(),
                uid: e.uid.clone(),
                since: e.since,
                observed_at: e.observed_at,
            })
        })
        .collect();
    views.sort_by_cached_key(Position::of);
    views
}

/// Where an address stands in the list: `10.1.2.3/sim-a/shop-web-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    address: IpAddr,
    /// Cluster and instance.
    owner: String,
}

impl Position {
    pub(crate) fn of(view: &AddressView) -> Self {
        Self { address: view.address, owner: format!("{}/{}", view.cluster, view.instance) }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("after: {text:?} is no position: expected `next` of the page before");
        let (address, owner) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        Ok(Self { address, owner: owner.to_owned() })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::Name;
    use jiff::Timestamp;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a label")
    }

    fn endpoint(app: &str, last: u8, phase: EndpointPhase) -> Endpoint {
        Endpoint {
            cluster: name("sim-a"),
            project: name("demo"),
            app: name(app),
            revision: name("r1"),
            instance: format!("{app}-{last}"),
            uid: format!("u{last}"),
            node: None,
            zone: None,
            addresses: vec![[127, 20, 0, last].into()],
            ports: Vec::new(),
            weight: 100,
            labels: Default::default(),
            register: None,
            registered: None,
            phase,
            stopping: false,
            reason: None,
            since: Timestamp::UNIX_EPOCH,
            generation: 1,
            observed_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn addresses_in_use_are_those_of_instances_that_have_not_ended() {
        let all = [
            endpoint("web", 9, EndpointPhase::Draining),
            endpoint("api", 3, EndpointPhase::Ready),
            endpoint("web", 5, EndpointPhase::Gone),
        ];
        let ask =
            |query: Query| in_use(all.iter(), &query).into_iter().map(|v| v.instance).collect::<Vec<_>>();
        assert_eq!(ask(Query::default()), ["api-3", "web-9"]);
        assert_eq!(ask(Query { name: Some(name("web")), ..Query::default() }), ["web-9"]);
        assert!(ask(Query { project: Some(name("other")), ..Query::default() }).is_empty());
    }

    #[test]
    fn a_position_reads_back_and_stands_where_its_address_stands() {
        let all = [9, 10, 3].map(|last| endpoint("web", last, EndpointPhase::Ready));
        let views = in_use(all.iter(), &Query::default());
        let positions: Vec<Position> = views.iter().map(Position::of).collect();
        assert!(positions.is_sorted(), "{positions:?}");
        for position in positions {
            assert_eq!(Position::parse(&position.to_string()), Ok(position));
        }
        assert!(Position::parse("nonsense").is_err_and(|e| e.starts_with("after: ")));
    }
}
