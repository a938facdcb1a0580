//! How Redis is reached, and what its errors mean.

use std::time::Duration;

use bcs_schemas::resource::registry::RedisDriver;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ErrorKind, IntoConnectionInfo, RedisError,
    TlsCertificates, aio::MultiplexedConnection,
};

use crate::{
    domain::Failure,
    driver::secret::{self, read},
};

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn connect(settings: &RedisDriver) -> Result<MultiplexedConnection, Failure> {
    let client = client(settings).await.map_err(Failure::Unavailable)?;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(WITHIN)).set_response_timeout(Some(WITHIN));
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|e| Failure::Unavailable(format!("redis: connecting failed: {}", words(&e))))
}

async fn client(settings: &RedisDriver) -> Result<Client, String> {
    let bad = |e: RedisError| format!("redis: driver.redis.url: {}", words(&e));
    let mut info = settings.url.as_str().into_connection_info().map_err(bad)?;
    if let Some(auth) = &settings.auth {
        let password = read("driver.redis.auth.password", &auth.password).await?;
        let mut login = info.redis_settings().clone().set_password(secret::line(&password));
        if let Some(user) = &auth.user {
            login = login.set_username(user);
        }
        info = info.set_redis_settings(login);
    }
    let Some(tls) = &settings.tls else { return Client::open(info).map_err(bad) };
    let root_cert = match &tls.ca {
        Some(ca) => Some(read("driver.redis.tls.ca", ca).await?.into_bytes()),
        None => None,
    };
    let client_tls = match &tls.client {
        Some(client) => Some(ClientTlsConfig {
            client_cert: read("driver.redis.tls.client.certificate", &client.certificate).await?.into_bytes(),
            client_key: read("driver.redis.tls.client.key", &client.key).await?.into_bytes(),
        }),
        None => None,
    };
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(bad)
}

/// Redis says nothing of a script whose check failed, so whatever comes as an error is no fault of an entry.
pub(super) fn judge(doing: &str, error: &RedisError) -> Failure {
    let hint = match error.kind() {
        ErrorKind::Server(redis::ServerErrorKind::NoPerm) => {
            ": the user needs +@read +@write +@scripting on the sets and on bcs:*"
        }
        _ => "",
    };
    Failure::Unavailable(format!("redis: {doing} failed: {}{hint}", words(error)))
}

fn words(error: &RedisError) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    error.to_string()
}
