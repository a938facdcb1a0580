//! How PostgreSQL is reached, and what its errors mean.

use std::{str::FromStr, time::Duration};

use bcs_schemas::resource::registry::PostgresDriver;
use sqlx::{
    ConnectOptions, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::timeout;

use crate::{
    domain::Failure,
    driver::secret::{self, read},
};

/// How long one call may take; the server itself gives up a little earlier.
const WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn connect(settings: &PostgresDriver) -> Result<PgConnection, Failure> {
    let options = options(settings).await.map_err(Failure::Unavailable)?;
    within("connecting", options.connect()).await
}

async fn options(settings: &PostgresDriver) -> Result<PgConnectOptions, String> {
    let options = PgConnectOptions::from_str(&settings.url)
        .map_err(|e| format!("postgres: driver.postgres.url cannot be used: {e}"))?;
    let mut options = options
        .username(&settings.user)
        .application_name("bcs-discovery-sidecar")
        .options([
            ("statement_timeout", "2500"),
            ("lock_timeout", "1000"),
            ("idle_in_transaction_session_timeout", "10000"),
        ])
        .ssl_mode(PgSslMode::Prefer)
        .disable_statement_logging();
    if let Some(password) = &settings.password {
        options = options.password(secret::line(&read("driver.postgres.password", password).await?));
    }
    let Some(tls) = &settings.tls else { return Ok(options) };
    options = options.ssl_mode(PgSslMode::VerifyFull);
    if let Some(ca) = &tls.ca {
        options = options.ssl_root_cert_from_pem(read("driver.postgres.tls.ca", ca).await?.into_bytes());
    }
    if let Some(client) = &tls.client {
        let certificate = read("driver.postgres.tls.client.certificate", &client.certificate).await?;
        let key = read("driver.postgres.tls.client.key", &client.key).await?;
        options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
    }
    Ok(options)
}

/// One step of the talk with the server.
pub(super) async fn within<T>(
    doing: &str,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failure> {
    match timeout(WITHIN, call).await {
        Ok(answer) => answer.map_err(|e| judge(doing, &e)),
        Err(_) => Err(Failure::Unavailable(format!("postgres: {doing} got no answer in time"))),
    }
}

/// What the server finds wrong with the data is the fault of an entry; everything else is the server's.
fn judge(doing: &str, error: &sqlx::Error) -> Failure {
    let Some(said) = error.as_database_error() else {
        return Failure::Unavailable(format!("postgres: {doing} failed: {error}"));
    };
    let code = said.code().unwrap_or_default();
    // Data exceptions, violated constraints, and what a trigger raises by itself: the first two characters are the class.
    if code.starts_with("22") || code.starts_with("23") || code == "P0001" {
        return Failure::Rejected(said.message().to_owned());
    }
    let hint = match &*code {
        "42501" => {
            ": the role needs SELECT, INSERT, UPDATE and DELETE on both tables, or CREATE where they are to be made"
        }
        "42P01" | "42703" => ": the tables are not as the documentation says",
        _ => "",
    };
    Failure::Unavailable(format!("postgres: {doing} failed: {}{hint}", said.message()))
}
