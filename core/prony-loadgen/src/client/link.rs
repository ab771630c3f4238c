//! A connection, plain or encrypted.

use super::socket::{Arrived, Socket, Stamper};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// TLS configuration of connections.
#[derive(Debug, Clone)]
pub(super) struct Encryption {
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Encryption {
    /// For a server called `name`, whose certificate the system must trust.
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities.
    pub(super) fn new(name: &str) -> Result<Self, String> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| format!("`{name}` can have no certificate: {error}"))?;
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        let certificates = found.certs.clone();
        let (trusted, _) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            let why = found.errors.first().map(ToString::to_string);
            return Err(format!(
                "no trusted certificate authority was found ({}); `SSL_CERT_FILE` can name a file",
                why.as_deref().unwrap_or("the system has none")
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(roots, certificates, &provider)?;
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }
}

/// Trusts what an authority of the system has signed, and a server's own certificate that is
/// itself among the trusted: many servers sign their own, as an authority of one.
#[derive(Debug)]
struct Verifier {
    by_authority: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(
        roots: rustls::RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        Ok(Self {
            by_authority: verifier.build().map_err(|error| error.to_string())?,
            trusted,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.by_authority
                .verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            // Not what it is for, but the user has named this very certificate.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.trusted.iter().any(|it| it == certificate) =>
            {
                let certificate = rustls::server::ParsedCertificate::try_from(certificate)?;
                rustls::client::verify_server_name(&certificate, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authority
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}

/// The error of a connection in words. A certificate that is not trusted has a way out.
pub(super) fn words(error: &io::Error) -> String {
    let of_tls = error.get_ref().and_then(|it| it.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(problem)) = of_tls else {
        return error.to_string();
    };
    let problem = match problem {
        CertificateError::UnknownIssuer => "nobody who is trusted has signed it".to_owned(),
        CertificateError::Other(_) => "it has signed itself".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            return "the server's certificate has expired".to_owned();
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            return "the server's certificate is of another name".to_owned();
        }
        other => format!("{other:?}"),
    };
    format!(
        "the server's certificate is not trusted, since {problem}: name its file, or its authority's, in the environment variable `SSL_CERT_FILE`"
    )
}

#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Link {
    pub(super) fn new(socket: Socket, encryption: Option<&Encryption>) -> io::Result<Self> {
        let tls = match encryption {
            None => None,
            Some(Encryption { config, name }) => {
                let mut tls = ClientConnection::new(config.clone(), name.clone())
                    .map_err(io::Error::other)?;
                // A request is written as a whole.
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
        };
        Ok(Self { socket, tls })
    }

    pub(super) fn connected(&self) -> io::Result<()> {
        self.socket.connected()
    }

    /// Returns `true` during the TLS handshake.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Takes some of `bytes`, at least one, or fails with `WouldBlock`. Encrypted bytes
    /// may remain to be sent: see [`Link::flush`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => tls.writer().write(bytes),
        }
    }

    /// Writes pending encrypted bytes. Returns `false` if there was not room for all.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while tls.wants_write() {
            match tls.write_tls(&mut Writer(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads what has arrived. The bytes are in `into`, or, if they were encrypted, in
    /// `plain`. `None` if encrypted bytes hold none for the application.
    pub(super) fn read(
        &mut self,
        stamper: &mut Stamper,
        into: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> io::Result<Option<Arrived>> {
        let mut arrived = self.socket.read(into, stamper)?;
        let Some(tls) = &mut self.tls else {
            return Ok(Some(arrived));
        };
        plain.clear();
        let mut cipher = &into[..arrived.count];
        if cipher.is_empty() {
            // Tells TLS that the connection has ended.
            tls.read_tls(&mut io::empty())?;
        }
        let mut closed = cipher.is_empty();
        loop {
            if !cipher.is_empty() {
                tls.read_tls(&mut cipher)?;
            }
            let state = tls
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            closed |= state.peer_has_closed();
            let ready = state.plaintext_bytes_to_read();
            let before = plain.len();
            plain.resize(before + ready, 0);
            tls.reader().read_exact(&mut plain[before..])?;
            if cipher.is_empty() {
                break;
            }
        }
        arrived.count = plain.len();
        Ok((closed || !plain.is_empty()).then_some(arrived))
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }
}

struct Writer<'a>(&'a Socket);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
