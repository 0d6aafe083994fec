//! TLS for the gateway, by rustls: reads certificate and key. Connections hold their own sessions.

use anyhow::{Context, ensure};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// A server with this certificate chain and key (PEM), TLS 1.2 and 1.3, without client certificates: clients log in.
pub fn server(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("gateway.tls_certificate {}", certificate.display()))?;
    ensure!(
        !chain.is_empty(),
        "gateway.tls_certificate {}: no certificate in it; expected PEM, -----BEGIN CERTIFICATE-----",
        certificate.display()
    );
    let secret =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("gateway.tls_key {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .context("gateway.tls_certificate and gateway.tls_key do not go together")?;
    Ok(Arc::new(config))
}
