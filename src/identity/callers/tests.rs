use super::*;

fn caller(name: &str, tokens: &[&str], sans: &[&str]) -> CallerSettings {
    CallerSettings {
        id: CallerId::try_from(name).unwrap(),
        tokens: tokens.iter().map(|token| TokenDigest::of(token)).collect(),
        sans: sans.iter().map(|san| san.parse().unwrap()).collect(),
        authority: Authority::default(),
        subjects: Vec::new(),
        claims: Vec::new(),
        requires_both: false,
        policy: Policy::default(),
    }
}

fn shown<'a>(authorization: &'a str) -> Credentials<'a> {
    Credentials {
        authorization: Some(Ok(authorization)),
        certificate: None,
    }
}

#[test]
fn a_token_names_its_caller_and_nothing_else_does() {
    let callers = Callers::new(&[caller("billing", &["t0ken"], &[])], Vec::new());
    let name = |header| callers.identify(shown(header)).map(|c| c.id.to_string());
    assert_eq!(name("Bearer t0ken"), Ok("billing".to_owned()));
    assert_eq!(name("bearer t0ken"), Ok("billing".to_owned()));
    for (wrong, why) in [
        ("t0ken", AuthError::NoBearer),
        ("Bearer other", AuthError::UnknownToken),
        ("Bearer a.b.c", AuthError::UnknownToken),
        ("Basic t0ken", AuthError::NoBearer),
        ("Bearer  ", AuthError::NoBearer),
        ("", AuthError::NoBearer),
    ] {
        assert_eq!(name(wrong), Err(why), "{wrong:?}");
    }
    let long = format!("Bearer {}", "x".repeat(limits::TOKEN_BYTES_MAX + 1));
    assert_eq!(name(&long), Err(AuthError::LongToken));
    let nothing = callers
        .identify(Credentials::default())
        .map(|c| c.id.to_string());
    assert_eq!(nothing, Err(AuthError::Nothing("")));
}

#[test]
fn what_is_shown_is_told_by_its_fingerprint_whether_it_is_good_or_not() {
    let callers = Callers::new(&[caller("billing", &["t0ken"], &[])], Vec::new());
    let told = |header| {
        let (_, proofs) = callers.identify_shown(shown(header));
        proofs.iter().map(Proof::told).collect::<Vec<_>>()
    };
    // printf %s t0ken | sha256sum
    assert_eq!(told("Bearer t0ken"), ["token:b46c0967"]);
    assert_eq!(told("Bearer a.b.c"), ["token:845e3044"]);
    assert_eq!(told("Basic t0ken"), [""; 0]);
}

#[test]
fn without_callers_everybody_is_anonymous_and_without_tokens_nobody_is() {
    let open = Callers::default();
    let anonymous = open.identify(shown("whatever")).unwrap();
    assert_eq!(anonymous.id, CallerId::anonymous());

    let callers = Callers::new(&[caller("billing", &["t0ken"], &[])], Vec::new());
    let billing = CallerId::try_from("billing").unwrap();
    callers.replace_tokens(&billing, &[]).unwrap();
    assert!(callers.identify(shown("Bearer t0ken")).is_err());
    assert!(callers.identify(Credentials::default()).is_err());
}

#[test]
fn a_token_of_another_callers_is_not_taken_over() {
    let settings = [caller("a", &["one"], &[]), caller("b", &["two"], &[])];
    let callers = Callers::new(&settings, Vec::new());
    let a = CallerId::try_from("a").unwrap();
    let new = ["three", "two"].map(TokenDigest::of);
    let b = CallerId::try_from("b").unwrap();
    assert_eq!(
        callers.replace_tokens(&a, &new),
        Err(DuplicateToken(b.clone()))
    );
    assert_eq!(callers.identify(shown("Bearer one")).unwrap().id, a);
    assert_eq!(callers.identify(shown("Bearer two")).unwrap().id, b);
    assert!(callers.identify(shown("Bearer three")).is_err());
}

fn is(callers: &Callers, token: &str) -> Option<String> {
    let called = callers.identify(shown(&format!("Bearer {token}"))).ok()?;
    Some(called.id.to_string())
}

#[test]
fn who_is_taken_out_is_nobody_and_who_stays_keeps_the_hour_that_was_used() {
    let counted = |max, name, token| {
        let mut caller = caller(name, &[token], &[]);
        caller.policy.hourly_items_max = max;
        caller
    };
    let callers = Callers::new(
        &[counted(Some(10), "a", "one"), counted(None, "b", "two")],
        Vec::new(),
    );
    let quota = |token: &str| {
        let called = callers.identify(shown(&format!("Bearer {token}")));
        called.unwrap().quota.clone()
    };
    let now = jiff::Timestamp::UNIX_EPOCH;
    quota("one").unwrap().take(8, now).unwrap();
    let new = [
        counted(Some(9), "a", "three"),
        counted(Some(5), "c", "four"),
    ];
    let failed = callers.replace(&new, Vec::new(), |_| Err("no".to_owned()));
    assert_eq!(failed, Err("no".to_owned()));
    assert_eq!(quota("one").unwrap().take(3, now).unwrap_err().max, 10);
    let mut begun = Vec::new();
    let count = |callers: &[Arc<Caller>]| {
        begun.extend(callers.iter().map(|caller| caller.id.to_string()));
        Ok(())
    };
    callers.replace(&new, Vec::new(), count).unwrap();
    assert_eq!(begun, ["c"], "its hour is counted from here on");
    assert_eq!((is(&callers, "one"), is(&callers, "two")), (None, None));
    assert_eq!(is(&callers, "three").as_deref(), Some("a"));
    let quota = quota("three").unwrap();
    assert_eq!(quota.take(2, now).unwrap_err().max, 9);
    quota.take(1, now).unwrap();
}

#[test]
fn the_last_caller_is_not_taken_out_as_that_would_let_everybody_in() {
    let callers = Callers::new(&[caller("a", &["one"], &[])], Vec::new());
    assert!(callers.replace(&[], Vec::new(), |_| Ok(())).is_err());
    assert_eq!(is(&callers, "one").as_deref(), Some("a"));
    assert!(callers.identify(Credentials::default()).is_err());
}

#[test]
fn a_token_that_is_revoked_is_good_no_more_until_it_is_off_the_list() {
    let callers = Callers::new(&[caller("a", &["t0ken", "two"], &[])], Vec::new());
    // As the audit tells it: see above.
    callers.revoke(Revoked::parse("token:b46c0967\n").unwrap());
    let refused = callers.identify(shown("Bearer t0ken")).unwrap_err();
    assert_eq!(refused, AuthError::Revoked(REVOKED_TOKEN));
    assert_eq!(is(&callers, "two").as_deref(), Some("a"));
    callers.revoke(Revoked::parse("# none\n").unwrap());
    assert_eq!(is(&callers, "t0ken").as_deref(), Some("a"));
}
