//! TLS of calls: whom we trust and who we are. Files are read at every connecting, so that a renewed certificate is taken
//! up without a restart.

use std::sync::Arc;

use bcs_schemas::resource::registry::Tls;
use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::WITHIN;
use crate::driver::secret;

/// Connects over TLS where the URL says so. `field` is where the settings lie, for words.
pub(super) async fn connector(
    field: &str,
    settings: Option<&Tls>,
) -> Result<HttpsConnector<HttpConnector>, String> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(WITHIN));
    tcp.set_nodelay(true);
    let standard = Tls::default();
    let settings = settings.unwrap_or(&standard);
    let builder =
        HttpsConnectorBuilder::new().with_tls_config(config(field, settings).await?).https_or_http();
    let builder = match &settings.server_name {
        Some(name) => {
            let name = ServerName::try_from(name.clone()).map_err(|_| {
                format!("{field}.serverName: {name:?} is no name that a certificate can have")
            })?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    Ok(builder.enable_http1().wrap_connector(tcp))
}

async fn config(field: &str, settings: &Tls) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("{field}: {e}"))?;
    let trusting = match &settings.ca {
        Some(ca) => {
            let at = format!("{field}.ca");
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&at, &secret::read(&at, ca).await?)? {
                roots.add(certificate).map_err(|e| format!("{at}: {e}"))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder
            .with_native_roots()
            .map_err(|e| format!("{field}.ca: is missing, and the machine trusts nobody: {e}"))?,
    };
    let Some(client) = &settings.client else { return Ok(trusting.with_no_client_auth()) };
    let (shown, key) = (format!("{field}.client.certificate"), format!("{field}.client.key"));
    let chain = certificates(&shown, &secret::read(&shown, &client.certificate).await?)?;
    let text = secret::read(&key, &client.key).await?;
    let held = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| format!("{key}: holds no private key in PEM"))?;
    trusting.with_client_auth_cert(chain, held).map_err(|e| format!("{field}.client: {e}"))
}

fn certificates(field: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{field}: holds no certificate in PEM")),
    }
}
