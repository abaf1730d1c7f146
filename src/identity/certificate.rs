//! The names in a client's certificate. That the certificate is good was found out before, by the
//! TLS that received it; this only reads it.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use super::proof;
use crate::{domain::ids::Malformed, limits};

/// A name of a certificate's that can be a caller's (a SAN). Compared as a whole: no wildcard, no
/// suffix, and never the subject's common name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum San {
    /// A DNS name, in lower case.
    Dns(Box<str>),
    /// A URI, such as a SPIFFE ID.
    Uri(Box<str>),
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

impl San {
    fn dns(name: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_name = !name.is_empty() && name.len() <= 253 && name.bytes().all(legal);
        is_name.then(|| Self::Dns(name.to_ascii_lowercase().into()))
    }

    fn uri(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let begins_well = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let is_scheme = begins_well && scheme.bytes().all(legal);
        let is_rest = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
        (is_scheme && is_rest && text.len() <= limits::SAN_BYTES_MAX)
            .then(|| Self::Uri(text.into()))
    }

    fn is_spiffe(&self) -> bool {
        matches!(self, Self::Uri(uri) if uri.starts_with("spiffe://"))
    }
}

impl FromStr for San {
    type Err = Malformed;

    /// Reads `dns:<name>` or a URI.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.contains('*') {
            return Err(Malformed::new(
                "has a wildcard, and names are compared whole",
            ));
        }
        let san = match text.strip_prefix("dns:") {
            Some(name) => Self::dns(name),
            None => Self::uri(text),
        };
        san.ok_or_else(|| {
            Malformed::new("is neither dns: with a name nor a URI such as spiffe://prod/billing")
        })
    }
}

/// Who vouches for a certificate: an authority by its name in the configuration, or the one without
/// a name, which is all of `server.tls_client_ca_file`.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority(Option<Arc<str>>);

impl Authority {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(Some(name.into()))
    }

    /// Its name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// What a connection's certificate says of whose it is, and who vouches for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    names: Vec<San>,
    /// Of its DER, in hexadecimal.
    digest: String,
    fingerprint: String,
    serial: String,
    vouched_by: BTreeSet<Authority>,
}

impl Certificate {
    /// Reads a certificate's names from its DER.
    ///
    /// # Errors
    /// If it cannot be read, or has names that contradict each other: SPIFFE wants a certificate
    /// with an ID to have no other URI.
    pub fn read(der: &[u8]) -> Result<Self, Malformed> {
        let unreadable = || Malformed::new("the certificate cannot be read");
        let (_, certificate) =
            x509_parser::certificate::X509Certificate::from_der(der).map_err(|_| unreadable())?;
        let mut names = Vec::new();
        let mut uris = 0;
        // A certificate with the extension twice is none.
        let san = certificate
            .subject_alternative_name()
            .map_err(|_| unreadable())?;
        for name in san.iter().flat_map(|san| &san.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.extend(San::dns(name)),
                GeneralName::URI(uri) => {
                    uris += 1;
                    names.extend(San::uri(uri));
                }
                _ => {}
            }
        }
        if uris > 1 && names.iter().any(San::is_spiffe) {
            return Err(Malformed::new(
                "the certificate has a SPIFFE ID and another URI, which SPIFFE forbids",
            ));
        }
        Ok(Self {
            names,
            digest: proof::digest(der, 32),
            fingerprint: proof::digest(der, 8),
            serial: proof::hex(trimmed(certificate.raw_serial())),
            vouched_by: BTreeSet::new(),
        })
    }

    /// The same certificate, for which these vouch and nobody else does.
    #[must_use]
    pub fn vouched_for(self, by: impl IntoIterator<Item = Authority>) -> Self {
        Self {
            vouched_by: by.into_iter().collect(),
            ..self
        }
    }

    /// Who vouches for it.
    #[must_use]
    pub fn vouched_by(&self) -> &BTreeSet<Authority> {
        &self.vouched_by
    }

    /// Its serial number, in hexadecimal without leading zeros.
    pub(super) fn serial(&self) -> &str {
        &self.serial
    }

    /// Its SHA-256, in hexadecimal.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// The first 16 hexadecimal digits of its SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its names: the DNS names and URIs that can be a caller's.
    #[must_use]
    pub fn names(&self) -> &[San] {
        &self.names
    }
}

/// A number without leading zeros, of which DER has one where the first bit is set.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_name_is_a_whole_dns_name_or_uri() {
        let parse = |text: &str| text.parse::<San>().map(|san| san.to_string());
        assert_eq!(
            parse("dns:Billing.Internal"),
            Ok("dns:billing.internal".to_owned())
        );
        let spiffe = "spiffe://prod/ns/billing/sa/worker";
        assert_eq!(parse(spiffe), Ok(spiffe.to_owned()));
        for bad in [
            "",
            "billing.internal",
            "dns:",
            "dns:*.internal",
            "dns:a b",
            "spiffe://prod/*",
            "spiffe:",
            "1x:y",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for bytes in [&b""[..], b"\x30", &[0x30, 0x82, 0xff, 0xff], &[0; 1_000]] {
            assert!(Certificate::read(bytes).is_err());
        }
    }
}
