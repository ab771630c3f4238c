//! TLS with a certificate that is made anew.

use rustls::pki_types::PrivateKeyDer;
use std::io;
use std::sync::Arc;

/// A key and a certificate, signed by itself, for `localhost`, `127.0.0.1` and `::1`.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) config: Arc<rustls::ServerConfig>,
    certificate: Arc<str>,
}

impl Identity {
    /// Makes one. TLS 1.2 and 1.3 are spoken, and HTTP/1.1 in them.
    pub fn self_signed() -> io::Result<Self> {
        let names = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned);
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![made.cert.der().clone()], key)
            })
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            certificate: made.cert.pem().into(),
        })
    }

    /// The certificate in PEM, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }
}
