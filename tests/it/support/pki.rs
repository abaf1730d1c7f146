//! Certificates and keys, created for each test.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Client, Gateway};

/// What the gateway's certificate is for.
pub(crate) const SERVER_NAME: &str = "gateway.test";

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    /// Serves TLS with it.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::make(name, |_| {})
    }

    fn make(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// An authority that is good from the beginning of one year to that of another.
    pub(crate) fn of_years(name: &str, from: i32, until: i32) -> Self {
        Self::make(name, |params| years(params, from, until))
    }

    /// A certificate for a server.
    pub(crate) fn server(&self) -> Pair {
        let dns = format!("dns:{SERVER_NAME}");
        self.leaf(&[&dns], ExtendedKeyUsagePurpose::ServerAuth, |_| {})
    }

    /// One that is good from the beginning of one year to that of another.
    pub(crate) fn server_of_years(&self, from: i32, until: i32) -> Pair {
        let dns = format!("dns:{SERVER_NAME}");
        self.leaf(&[&dns], ExtendedKeyUsagePurpose::ServerAuth, |params| {
            years(params, from, until);
        })
    }

    /// A certificate for a server at an address.
    pub(crate) fn for_host(&self, address: &str) -> Pair {
        let address = SanType::IpAddress(address.parse().unwrap());
        self.leaf(&[], ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params.subject_alt_names.push(address);
        })
    }

    /// A certificate for a client with these names: `dns:` and a name, or a URI.
    pub(crate) fn client(&self, names: &[&str]) -> Pair {
        self.leaf(names, ExtendedKeyUsagePurpose::ClientAuth, |_| {})
    }

    /// One that ends then, in seconds since 1970.
    pub(crate) fn client_until(&self, names: &[&str], end: u64) -> Pair {
        self.leaf(names, ExtendedKeyUsagePurpose::ClientAuth, |params| {
            params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
        })
    }

    /// One with this number.
    pub(crate) fn client_numbered(&self, names: &[&str], number: u64) -> Pair {
        self.leaf(names, ExtendedKeyUsagePurpose::ClientAuth, |params| {
            params.serial_number = Some(number.into());
        })
    }

    /// A list of the certificates that it has taken back, in PEM.
    pub(crate) fn revokes(&self, numbers: &[u64]) -> String {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: (*number).into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// One that ended long ago.
    pub(crate) fn expired_client(&self, names: &[&str]) -> Pair {
        self.leaf(names, ExtendedKeyUsagePurpose::ClientAuth, |params| {
            years(params, 2020, 2021);
        })
    }

    /// One whose subject has a common name, and that has no other name.
    pub(crate) fn client_by_common_name(&self, name: &str) -> Pair {
        self.leaf(&[], ExtendedKeyUsagePurpose::ClientAuth, |params| {
            params.distinguished_name.push(DnType::CommonName, name);
        })
    }

    fn leaf(
        &self,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.strip_prefix("dns:") {
                Some(dns) => SanType::DnsName(dns.try_into().unwrap()),
                None => SanType::URI((*name).try_into().unwrap()),
            })
            .collect();
        params.extended_key_usages = vec![usage];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Pair {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn years(params: &mut CertificateParams, from: i32, until: i32) {
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
}

/// A directory with files that the gateway reads.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; gives its path as TOML.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        format!("{:?}", path.display().to_string())
    }

    /// Writes the gateway's certificate and key; gives its settings.
    pub(crate) fn server(&self, pair: &Pair) -> String {
        format!(
            "tls_cert_file = {}\ntls_key_file = {}\n",
            self.write("server.pem", &pair.cert),
            self.write("server-key.pem", &pair.key)
        )
    }
}

impl Gateway {
    /// A client over TLS that believes an authority, with a certificate of its own or without.
    pub(crate) async fn over_tls(
        &self,
        believed: &Authority,
        own: Option<&Pair>,
    ) -> Result<Client, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&believed.pem))
            .domain_name(SERVER_NAME);
        if let Some(own) = own {
            tls = tls.identity(Identity::from_pem(&own.cert, &own.key));
        }
        let url = self.url().replace("http://", "https://");
        let endpoint = Endpoint::from_shared(url).unwrap();
        let channel = endpoint.tls_config(tls).unwrap().connect().await?;
        Ok(Client::new(channel))
    }
}
