//! How etcd is reached: deadlines, who we are, and whom we trust. Files are read at every connecting, so that a renewed
//! password or certificate is taken up without a restart.

use std::time::Duration;

use bcs_schemas::resource::registry::{EtcdDriver, Tls};
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::driver::secret::{self, read};

/// How long one call may take.
pub(super) const WITHIN: Duration = Duration::from_secs(3);

/// What the client is told, or what is missing. Contents of files are never part of the words.
pub(super) async fn options(settings: &EtcdDriver) -> Result<ConnectOptions, String> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(WITHIN)
        .with_keep_alive(Duration::from_secs(5), WITHIN)
        .with_require_leader(true);
    if let Some(auth) = &settings.auth {
        let password = read("driver.etcd.auth.password", &auth.password).await?;
        options =
            options.with_user(auth.user.as_str(), secret::line(&password)).with_auto_token_refresh(true);
    }
    if settings.endpoints.iter().any(|url| url.starts_with("https://")) {
        let standard = Tls::default();
        options = options.with_tls(tls(settings.tls.as_ref().unwrap_or(&standard)).await?);
    }
    Ok(options)
}

async fn tls(settings: &Tls) -> Result<TlsOptions, String> {
    let mut tls = match &settings.ca {
        Some(ca) => {
            TlsOptions::new().ca_certificate(Certificate::from_pem(read("driver.etcd.tls.ca", ca).await?))
        }
        None => TlsOptions::new().with_native_roots(),
    };
    if let Some(client) = &settings.client {
        let certificate = read("driver.etcd.tls.client.certificate", &client.certificate).await?;
        let key = read("driver.etcd.tls.client.key", &client.key).await?;
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &settings.server_name {
        tls = tls.domain_name(name.as_str());
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(file: &std::path::Path) -> EtcdDriver {
        let password = serde_json::json!({ "user": "bcs", "password": { "file": file } });
        let etcd = serde_json::json!({ "endpoints": ["http://127.0.0.1:1"], "auth": password });
        serde_json::from_value(etcd).expect("settings of etcd")
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named_with_its_field_and_no_password_is_shown() {
        let missing = options(&etcd("/nowhere/password".as_ref())).await.expect_err("is missing");
        assert!(missing.contains("driver.etcd.auth.password: /nowhere/password cannot be read"), "{missing}");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"hunter2\n\xff").expect("writes");
        let garbled = options(&etcd(file.path())).await.expect_err("is no text");
        assert!(garbled.contains("cannot be read") && !garbled.contains("hunter2"), "{garbled}");
        std::fs::write(file.path(), "hunter2\n").expect("writes");
        assert!(options(&etcd(file.path())).await.is_ok());
    }
}
