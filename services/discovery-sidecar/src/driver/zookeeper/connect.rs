//! How ZooKeeper is reached, and what its errors mean.

use std::time::Duration;

use bcs_schemas::resource::registry::ZookeeperDriver;
use tokio::time::timeout;
use zookeeper_client::{Acl, Acls, AuthId, Client, Error, Permission};

use crate::{
    domain::Failure,
    driver::secret::{self, read},
};

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(3);
/// How long the session outlives its connection. Nothing of ours goes with it.
const SESSION: Duration = Duration::from_secs(10);

pub(super) async fn connect(settings: &ZookeeperDriver) -> Result<Client, Failure> {
    let mut connector =
        Client::connector().with_session_timeout(SESSION).with_connection_timeout(WITHIN).with_fail_eagerly();
    if let Some(auth) = &settings.auth {
        let password = read("driver.zookeeper.auth.password", &auth.password).await;
        let password = password.map_err(Failure::Unavailable)?;
        let identity = format!("{}:{}", auth.user, secret::line(&password));
        connector = connector.with_auth("digest", identity.as_bytes());
    }
    let cluster = format!("{}{}", settings.hosts.join(","), settings.chroot.as_deref().unwrap_or_default());
    match timeout(WITHIN, connector.connect(&cluster)).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(failed("connecting", &error)),
        Err(_) => Err(Failure::Unavailable("zookeeper: connecting got no answer in time".to_owned())),
    }
}

/// Who may do what with the nodes that we make: with a user, the others only read.
pub(super) fn rights(settings: &ZookeeperDriver) -> Vec<Acl> {
    match &settings.auth {
        Some(_) => {
            vec![Acl::new(Permission::ALL, AuthId::authed()), Acl::new(Permission::READ, AuthId::anyone())]
        }
        None => Acls::anyone_all().to_vec(),
    }
}

pub(super) async fn within<T, E: Into<Error>>(
    doing: &str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    answered(doing, call).await?.map_err(|error| failed(doing, &error.into()))
}

/// What the server said, if it said anything in time.
pub(super) async fn answered<T, E>(
    doing: &str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<Result<T, E>, Failure> {
    let late = || Failure::Unavailable(format!("zookeeper: {doing} got no answer in time"));
    timeout(WITHIN, call).await.map_err(|_| late())
}

pub(super) fn failed(doing: &str, error: &Error) -> Failure {
    let hint = match error {
        Error::NoHosts => ": none of the hosts answers as a ZooKeeper",
        Error::NoAuth => ": the user needs all rights below the prefix and below /bcs",
        Error::Unimplemented => ": expected ZooKeeper 3.6 or later",
        _ => "",
    };
    Failure::Unavailable(format!("zookeeper: {doing} failed: {error}{hint}"))
}
