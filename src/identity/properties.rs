//! Whatever is shown, and whatever an issuer publishes, is read without a panic, and proves nobody.

use std::sync::Arc;

use proptest::{arbitrary::any, collection::vec, proptest};

use super::{
    Algorithm, Authority, CallerSettings, Callers, Certificate, Credentials, Issuer,
    IssuerSettings, Jwks, Policy, Revoked, Subject,
};

const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// `{"alg":"EdDSA","kid":"k"}`
const HEADER: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ";
/// `{"iss":"i","sub":"s","aud":"a","exp":9999999999}`
const CLAIMS: &str = "eyJpc3MiOiJpIiwic3ViIjoicyIsImF1ZCI6ImEiLCJleHAiOjk5OTk5OTk5OTl9";

fn callers() -> Callers {
    let issuer = Issuer::new(IssuerSettings {
        name: "test".to_owned(),
        issuer: "i".to_owned(),
        audiences: vec!["a".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        types: vec!["jwt".to_owned()],
        token_life_max: None,
        keys_age_max: None,
    });
    issuer.set_keys(Jwks::parse(JWKS).unwrap());
    let caller = CallerSettings {
        id: "billing".try_into().unwrap(),
        tokens: Vec::new(),
        sans: Vec::new(),
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
}

fn is_nobody(callers: &Callers, header: &str) -> bool {
    let proofs = Credentials {
        authorization: Some(Ok(header)),
        certificate: None,
    };
    callers.identify(proofs).is_err()
}

proptest! {
    #[test]
    fn any_header_proves_nobody(header in ".{0,80}", token in "[A-Za-z0-9_.-]{0,200}") {
        let callers = callers();
        assert!(is_nobody(&callers, &header));
        assert!(is_nobody(&callers, &format!("Bearer {token}")));
    }

    #[test]
    fn any_signature_any_claims_and_any_header_prove_nobody(
        header in "[A-Za-z0-9_-]{0,60}",
        claims in "[A-Za-z0-9_-]{0,90}",
        signature in "[A-Za-z0-9_-]{0,90}",
    ) {
        let callers = callers();
        for token in [
            format!("{HEADER}.{CLAIMS}.{signature}"),
            format!("{HEADER}.{claims}.{signature}"),
            format!("{header}.{CLAIMS}.{signature}"),
        ] {
            assert!(is_nobody(&callers, &format!("Bearer {token}")));
        }
    }

    #[test]
    fn any_bytes_are_no_certificate_and_any_text_no_keys(
        bytes in vec(any::<u8>(), 0..300),
        text in "[\\[\\]{}\",:a-z0-9]{0,120}",
    ) {
        assert!(Certificate::read(&bytes).is_err());
        assert!(Jwks::parse(&text).is_err());
    }

    #[test]
    fn any_text_is_a_list_of_what_is_revoked_or_a_mistake_in_one_of_its_lines(text in "\\PC{0,80}") {
        let _ = Revoked::parse(&text);
    }
}
