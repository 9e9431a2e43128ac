//! TLS as libpq has it: who is trusted, whether the name is checked, and the client's own certificate.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme};

use super::settings::{Host, Roots, SslMode, Tls};
use crate::error::{Error, ErrorKind, Result};

/// A file of certificates is small; what is larger is something else.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// The configuration of one connection.
pub(super) fn config(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.versions {
        (12, 12) => &[&rustls::version::TLS12],
        (13, _) => &[&rustls::version::TLS13],
        _ => &[&rustls::version::TLS12, &rustls::version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(|e| wrong("setting TLS up", e.to_string()))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier::new(tls, provider)?));
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "sslcert")?;
            let built = builder.with_client_auth_cert(chain, private_key(key)?);
            built.map_err(|e| wrong(format!("reading sslcert {} and its sslkey", certificate.display()), e.to_string()))?
        }
    };
    config.enable_sni = tls.sends_name;
    if tls.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(config)
}

/// The name that the certificate is held against, and that the server is told.
pub(super) fn server_name(host: &Host, mode: SslMode) -> Result<ServerName<'static>> {
    match ServerName::try_from(host.name.clone()) {
        Ok(name) => Ok(name),
        // Where no name is checked, any will do; an address is not sent.
        Err(_) if mode < SslMode::VerifyFull => Ok(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())),
        Err(_) => Err(wrong("setting TLS up", format!("no certificate can be for the host {:?}", host.name))),
    }
}

fn wrong(doing: impl Into<String>, detail: String) -> Error {
    Error::new(ErrorKind::Usage, doing, detail)
}

fn file(path: &Path, parameter: &str) -> Result<Vec<u8>> {
    let cannot = |detail: String| wrong(format!("reading {parameter} {}", path.display()), detail);
    let metadata = path.metadata().map_err(|e| cannot(e.to_string()))?;
    if !metadata.is_file() || metadata.len() > FILE_MAX_BYTES {
        return Err(cannot("it is no file of certificates".to_owned()));
    }
    std::fs::read(path).map_err(|e| cannot(e.to_string()))
}

fn certificates(path: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>> {
    let cannot = |detail: String| wrong(format!("reading {parameter} {}", path.display()), detail);
    let pem = file(path, parameter)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<Vec<_>, _>>();
    let found = found.map_err(|e| cannot(e.to_string()))?;
    if found.is_empty() { Err(cannot("there is no certificate in it (PEM)".to_owned())) } else { Ok(found) }
}

/// As libpq, refuses a key that others can read: a key of root may be read by its group.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    use std::os::unix::fs::MetadataExt;
    let cannot = |detail: String| wrong(format!("reading sslkey {}", path.display()), detail);
    let metadata = path.metadata().map_err(|e| cannot(e.to_string()))?;
    let open = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    if metadata.permissions().mode() & open != 0 {
        return Err(cannot("others can read it; chmod 0600".to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&file(path, "sslkey")?)
        .map_err(|e| cannot(format!("{e}; a key with a passphrase cannot be read")))
}

/// Holds the server's certificate against the roots.
#[derive(Debug)]
struct Verifier {
    /// `None`: nothing is checked but that the server has the key.
    roots: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates of the root file. A server may have one of them itself.
    own: Vec<CertificateDer<'static>>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Verifier> {
        let own = match &tls.roots {
            Roots::Nobody => return Ok(Verifier { roots: None, own: Vec::new(), checks_name: false, provider }),
            Roots::File(path) => certificates(path, "sslrootcert")?,
            Roots::System => rustls_native_certs::load_native_certs().certs,
        };
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(own.iter().cloned());
        if added == 0 {
            let detail = "this machine trusts no authority (package ca-certificates); give sslrootcert";
            return Err(wrong("setting TLS up", detail.to_owned()));
        }
        let roots = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
        let roots = roots.map_err(|e| wrong("setting TLS up", e.to_string()))?;
        let own = if tls.roots == Roots::System { Vec::new() } else { own };
        Ok(Verifier { roots: Some(roots), own, checks_name: tls.mode == SslMode::VerifyFull, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        match roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            // A self-signed certificate that is its own root. Its times are checked before this is noticed, its name is not.
            Err(TlsError::InvalidCertificate(CertificateError::Other(why)))
                if format!("{why:?}").contains("CaUsedAsEndEntity") && self.own.iter().any(|own| own == end_entity) =>
            {
                if self.checks_name {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What to do about a handshake that failed.
pub(super) fn hint(error: &str) -> &'static str {
    match error {
        e if e.contains("UnknownIssuer") || e.contains("CaUsedAsEndEntity") => {
            "the certificate is of an authority that sslrootcert does not name: give the right root certificate"
        }
        e if e.contains("not valid for name") || e.contains("NotValidForName") => {
            "the server's certificate is for another host (its subjectAltName counts): connect by the name it has, or use sslmode=verify-ca"
        }
        e if e.contains("expired") || e.contains("Expired") => "the server's certificate has expired: renew it on the server",
        e if e.contains("CertificateRequired") || e.contains("certificate required") => {
            "the server asks for a certificate of yours: give sslcert and sslkey"
        }
        _ => "see sslmode, sslrootcert, sslcert and sslkey in the URL",
    }
}
