//! Who vouches for a client's certificate. Each authority is asked by itself, so that it is known
//! which one it was: a name is worth something from its caller's authority alone.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::parts::{CLIENT_CRL, Parts};
use crate::identity::Authority;

/// Believes what at least one authority vouches for.
#[derive(Debug)]
pub(super) struct Vouching {
    /// An authority without a verifier vouches for nobody: what it had was taken away.
    each: Vec<(Authority, Option<Arc<dyn ClientCertVerifier>>)>,
    hints: Vec<DistinguishedName>,
    required: bool,
    provider: Arc<CryptoProvider>,
}

impl Vouching {
    /// # Errors
    /// What is wrong with an authority or a list, in the words of the configuration.
    pub(super) fn new(parts: &Parts, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let mut each = Vec::new();
        for (authority, certificates) in &parts.authorities {
            let certificates = match parts.distrusts_all {
                true => Vec::new(),
                false => certificates.clone(),
            };
            let verifier =
                verifier(certificates, parts.revoked.clone(), provider).map_err(|why| {
                    match authority.name() {
                        Some(name) => format!("authorities.{name}: {why}"),
                        None => why,
                    }
                })?;
            each.push((authority.clone(), verifier));
        }
        let hints = each
            .iter()
            .filter_map(|(_, verifier)| verifier.as_ref())
            .flat_map(|verifier| verifier.root_hint_subjects());
        Ok(Self {
            hints: hints.cloned().collect(),
            each,
            required: parts.clients_required,
            provider: Arc::clone(provider),
        })
    }

    /// The authorities that vouch for a certificate at this time.
    ///
    /// # Errors
    /// Why none does. To the client all of that is one thing: see [`Unvouched`].
    pub(super) fn vouching(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vec<Authority>, Error> {
        let mut vouching = Vec::new();
        let mut why = CertificateError::UnknownIssuer.into();
        for (authority, verifier) in &self.each {
            let Some(verifier) = verifier else { continue };
            match verifier.verify_client_cert(first, others, now) {
                Ok(_) => vouching.push(authority.clone()),
                // That it ended or was revoked says more than that another one does not know it.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => why = error,
            }
        }
        if vouching.is_empty() {
            return Err(Unvouched::error(why));
        }
        Ok(vouching)
    }

    /// Those that vouch for what was believed at this time.
    pub(super) fn of_believed(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vec<Authority>, Error> {
        match self.each.as_slice() {
            // There is nothing to find out.
            [(only, _)] => Ok(vec![only.clone()]),
            _ => self.vouching(first, others, now),
        }
    }
}

/// Why nobody vouches for a certificate. The client gets one alert whatever it is
/// (`certificate_unknown`), and learns neither who is believed here nor what would be good; the log
/// and the audit have this.
#[derive(Clone)]
struct Unvouched(Arc<str>);

impl Unvouched {
    fn error(why: Error) -> Error {
        let unvouched = Self(why.to_string().into());
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(unvouched))))
    }
}

/// Why a handshake failed or a certificate is not believed any more, as the operator is told.
pub(super) fn told(error: &Error) -> String {
    if let Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error
        && let Some(why) = why.downcast_ref::<Unvouched>()
    {
        return why.to_string();
    }
    error.to_string()
}

impl std::error::Error for Unvouched {}

impl fmt::Display for Unvouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As the library shows it in its own errors.
impl fmt::Debug for Unvouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClientCertVerifier for Vouching {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.vouching(first, others, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// What one authority vouches for; `None` without a certificate. Lists of other authorities say
/// nothing of it.
fn verifier(
    certificates: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if certificates.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| format!("there is a certificate of no authority: {error}"))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(revoked)
        // Of several authorities not each has a list.
        .allow_unknown_revocation_status()
        .build()
        .map(Some)
        .map_err(|error| match error {
            VerifierBuilderError::InvalidCrl(why) => format!(
                "{CLIENT_CRL} holds a list that cannot be used ({why:?}); it has to be of version \
                 2, with a number and its authority's key identifier (RFC 5280)"
            ),
            other => format!("the authorities of clients cannot be used: {other}"),
        })
}
