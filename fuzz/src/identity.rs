//! What is shown as a proof of who calls, and what an issuer publishes as its keys: any bytes as a
//! certificate, any text as keys and as a header. Nothing of it proves anybody.

use std::sync::{Arc, LazyLock};

use cancelot::identity::{
    Algorithm, Authority, CallerSettings, Callers, Certificate, Credentials, Issuer,
    IssuerSettings, Jwks, Policy, Revoked, San, Subject,
};

const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

static CALLERS: LazyLock<Callers> = LazyLock::new(|| {
    let issuer = Issuer::new(IssuerSettings {
        name: "test".to_owned(),
        issuer: "i".to_owned(),
        audiences: vec!["a".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        types: vec!["jwt".to_owned()],
        token_life_max: None,
        keys_age_max: None,
    });
    issuer.set_keys(Jwks::parse(JWKS).expect("a key"));
    let caller = CallerSettings {
        id: "billing".try_into().expect("a name"),
        tokens: Vec::new(),
        sans: vec!["dns:billing.internal".parse().expect("a name")],
        authority: Authority::default(),
        subjects: vec![Subject {
            issuer: "test".to_owned(),
            subject: "s".to_owned(),
        }],
        claims: Vec::new(),
        requires_both: false,
        policy: Policy::default(),
    };
    Callers::new(&[caller], vec![Arc::new(issuer)])
});

/// Reads one input.
pub fn run(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::read(bytes) {
        let proofs = Credentials {
            authorization: None,
            certificate: Some(&certificate),
        };
        let _ = CALLERS.identify(proofs);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = Jwks::parse(text);
    let _ = text.parse::<San>();
    let _ = Revoked::parse(text);
    let _ = text.parse::<cancelot::domain::access::pattern::AccountPattern>();
    for header in [text, &format!("Bearer {text}")] {
        let proofs = Credentials {
            authorization: Some(Ok(header)),
            certificate: None,
        };
        assert!(CALLERS.identify(proofs).is_err(), "proven by {header:?}");
    }
}
