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
        Self::with(rcgen::IsCa::NoCa)
    }

    /// The same with a certificate that may sign others, as `openssl req -x509` makes them.
    pub fn authority() -> io::Result<Self> {
        Self::with(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained))
    }

    fn with(is_ca: rcgen::IsCa) -> io::Result<Self> {
        let (cert, key) = make(is_ca).map_err(io::Error::other)?;
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![cert.der().clone()], der)
            })
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            certificate: cert.pem().into(),
        })
    }

    /// The certificate in PEM, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }
}

fn make(is_ca: rcgen::IsCa) -> Result<(rcgen::Certificate, rcgen::KeyPair), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned);
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(names)?;
    params.is_ca = is_ca;
    Ok((params.self_signed(&key)?, key))
}
