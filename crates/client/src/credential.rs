//! Who may enter: certificates derived from the cluster secret, and the TLS settings made of them. Refuses to know addresses.
//!
//! Every holder of the secret derives the same certificate authority and mints its own Ed25519 certificate. The
//! certificate names the role: a handshake with a member asks for [`Role::Member`]'s name, so a client credential
//! opens the client protocol and can neither pose as a member nor speak the members' protocol.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SerialNumber};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, version};

use crate::secret::ClusterSecret;

/// The protocol's name in the TLS handshake (ALPN, RFC 7301). A change that old builds cannot read raises the number.
pub const ALPN: &[u8] = b"chinwag/3";

/// How long a minted certificate is valid. It is minted anew at every start.
const VALIDITY: Duration = Duration::from_secs(400 * 24 * 3600);
/// How far the clocks of two machines may differ before a fresh certificate is refused.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// What the holder of a certificate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Speaks for itself in gossip, stores and repairs: everything.
    Member,
    /// Reads and writes through a coordinator.
    Client,
}

impl Role {
    /// The DNS name a certificate of this role carries.
    pub fn server_name(self) -> &'static str {
        match self {
            Self::Member => "member.chinwag.internal",
            Self::Client => "client.chinwag.internal",
        }
    }

    /// The role a verified certificate gives its holder: the least one unless it names a member.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let names_member = || {
            let parsed = ParsedCertificate::try_from(certificate).ok()?;
            let name = ServerName::try_from(Self::Member.server_name()).ok()?;
            rustls::client::verify_server_name(&parsed, &name).ok()
        };
        if names_member().is_some() { Self::Member } else { Self::Client }
    }
}

/// Where handshakes take their cryptography, randomness and time from.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Cipher suites, key exchange and randomness.
    pub provider: Arc<CryptoProvider>,
    /// The wall time by which certificates are judged.
    pub time: Arc<dyn TimeProvider>,
}

impl Default for Tls {
    /// The operating system's randomness and clock.
    fn default() -> Self {
        Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            time: Arc::new(rustls::time_provider::DefaultTimeProvider),
        }
    }
}

/// A certificate with its key and the authority it trusts: what a handshake needs on either side.
#[derive(Debug)]
pub struct Credential {
    tls: Tls,
    role: Role,
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// The certificate library refused. Nothing was changed; this is a defect or a clock far out of range.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A certificate could not be made.
    #[error("cannot mint a certificate: {0}")]
    Mint(#[from] rcgen::Error),
    /// A TLS configuration could not be made of it.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The client verifier could not be made of the authority.
    #[error("cannot set up TLS client verification: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// TLS 1.3 with AES-128-GCM, which QUIC needs for its first packets, is missing.
    #[error("the TLS library lacks the cipher suite that QUIC begins with")]
    InitialCipherSuite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

impl Credential {
    /// Mints a certificate for `role`, valid from a day before `now` (time since 1970).
    ///
    /// `key_seed` must be fresh randomness for each call: it is the private key.
    ///
    /// # Errors
    /// [`CredentialError`] if `now` cannot stand in a certificate.
    pub fn mint(
        secret: &ClusterSecret,
        role: Role,
        key_seed: [u8; 32],
        now: Duration,
    ) -> Result<Self, CredentialError> {
        let authority = authority(secret)?;
        let mut params = CertificateParams::new(vec![role.server_name().to_owned()])?;
        params.not_before = instant(now.saturating_sub(CLOCK_SKEW));
        params.not_after = instant(now + VALIDITY);
        // The library's default is a hash of the key, whose encoded length varies.
        params.serial_number = Some(SerialNumber::from(1u64));
        let key = ed25519(key_seed)?;
        let certificate = params.signed_by(&key, &authority)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Self { tls: Tls::default(), role, authority: authority.der().clone(), certificate, key })
    }

    /// The same credential with other cryptography, randomness and time, as simulations need.
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The role this credential gives.
    pub fn role(&self) -> Role {
        self.role
    }

    /// QUIC client settings: trusts this cluster's members only, and presents this certificate.
    ///
    /// # Errors
    /// [`CredentialError`] if the TLS library refuses the certificate.
    pub fn quic_client(&self) -> Result<quinn::crypto::rustls::QuicClientConfig, CredentialError> {
        let mut config =
            rustls::ClientConfig::builder_with_details(self.tls.provider.clone(), self.tls.time.clone())
                .with_protocol_versions(&[&version::TLS13])?
                .with_root_certificates(self.roots()?)
                .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config.try_into()?)
    }

    /// QUIC server settings: lets in who shows a certificate of this cluster, whatever its role.
    ///
    /// # Errors
    /// [`CredentialError`] if the TLS library refuses the certificate.
    pub fn quic_server(&self) -> Result<quinn::crypto::rustls::QuicServerConfig, CredentialError> {
        let roots = Arc::new(self.roots()?);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, self.tls.provider.clone()).build()?;
        let mut config =
            rustls::ServerConfig::builder_with_details(self.tls.provider.clone(), self.tls.time.clone())
                .with_protocol_versions(&[&version::TLS13])?
                .with_client_cert_verifier(verifier)
                .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(config.try_into()?)
    }

    fn roots(&self) -> Result<RootCertStore, CredentialError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        Ok(roots)
    }
}

/// The certificate authority every holder of the secret derives alike.
fn authority(secret: &ClusterSecret) -> Result<CertifiedIssuer<'static, KeyPair>, CredentialError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "chinwag cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(SerialNumber::from(0u64));
    Ok(CertifiedIssuer::self_signed(params, ed25519(secret.derive("certificate authority"))?)?)
}

/// Whether a handshake ended because one side refused the other's certificate: another secret, or another protocol.
pub fn is_refused_handshake(error: &quinn::ConnectionError) -> bool {
    // TLS alerts arrive as QUIC errors 0x100 + alert (RFC 9001 section 4.8).
    let is_tls = |code: quinn::TransportErrorCode| (0x100..0x200).contains(&u64::from(code));
    match error {
        quinn::ConnectionError::ConnectionClosed(close) => is_tls(close.error_code),
        quinn::ConnectionError::TransportError(transport) => is_tls(transport.code),
        _ => false,
    }
}

fn ed25519(seed: [u8; 32]) -> Result<KeyPair, CredentialError> {
    // RFC 8410 section 7: PKCS#8 version 1 around a raw Ed25519 private key.
    const PKCS8_PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let der = [&PKCS8_PREFIX[..], &seed].concat();
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &rcgen::PKCS_ED25519)?)
}

fn instant(since_1970: Duration) -> time::OffsetDateTime {
    time::OffsetDateTime::UNIX_EPOCH + since_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(secret: u8, role: Role) -> Credential {
        let secret = ClusterSecret::from_bytes([secret; 32]);
        Credential::mint(&secret, role, [3; 32], Duration::from_secs(1_800_000_000)).unwrap()
    }

    #[test]
    fn certificate_tells_its_role() {
        for role in [Role::Member, Role::Client] {
            assert_eq!(Role::of(&credential(1, role).certificate), role);
        }
        assert_eq!(Role::of(&CertificateDer::from(vec![1, 2, 3])), Role::Client);
    }

    #[test]
    fn same_secret_gives_the_same_authority() {
        let member = credential(1, Role::Member);
        assert_eq!(member.authority, credential(1, Role::Client).authority);
        assert_ne!(member.authority, credential(2, Role::Member).authority);
        member.quic_client().unwrap();
        member.quic_server().unwrap();
    }
}
