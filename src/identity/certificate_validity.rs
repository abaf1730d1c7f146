//! From when until when a certificate is good. Nothing is decided by it: whoever has to notice
//! that it ends soon is told.

use x509_parser::prelude::FromDer as _;

/// The bounds of a certificate's validity, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateValidity {
    /// Before this it is not good.
    pub not_before: i64,
    /// After this it is good no more.
    pub not_after: i64,
}

impl CertificateValidity {
    /// That of a certificate in DER; `None` if it cannot be read.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Of certificates that are needed together, that of the one that ends first; `None` if none
    /// can be read.
    pub fn ends_first<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let read = ders.into_iter().filter_map(Self::read);
        read.min_by_key(|validity| validity.not_after)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: i32, until: i32) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        made.der().to_vec()
    }

    #[test]
    fn the_one_that_ends_first_counts_and_what_cannot_be_read_does_not() {
        let (long, short) = (certificate(2000, 2040), certificate(2001, 2002));
        let ends_first = |ders: &[&[u8]]| CertificateValidity::ends_first(ders.iter().copied());
        let of_short = Some(CertificateValidity {
            not_before: 978_307_200,
            not_after: 1_009_843_200,
        });
        assert_eq!(CertificateValidity::read(&short), of_short);
        assert_eq!(ends_first(&[&long, &short, b"none"]), of_short);
        assert_eq!(ends_first(&[&long]), CertificateValidity::read(&long));
        assert_eq!(ends_first(&[b"none"]), None);
    }
}
