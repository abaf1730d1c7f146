//! The types of settings that are about who calls.

use crate::{
    config::{
        error::Problem,
        schema::{
            setting::{RawSetting, ValueType, quoted},
            value_type::Choice,
        },
    },
    domain::access::pattern::AccountPattern,
    identity::{Algorithm, Method, San},
};

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ClientAuth {
    /// They are not asked for one.
    None,
    /// They are asked for one; if they show one, it has to be good.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// Which of a caller's proofs a call has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Require {
    /// Any one.
    Any,
    /// A certificate and a token.
    All,
}

impl Choice for Require {
    const CHOICES: &'static [(&'static str, Self)] = &[("any", Self::Any), ("all", Self::All)];
}

impl Choice for ClientAuth {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("optional", Self::Optional),
        ("required", Self::Required),
    ];
}

impl Choice for Algorithm {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];
}

impl Choice for Method {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("CancelSubscription", Self::CancelSubscription),
        ("CancelEnrollments", Self::CancelEnrollments),
        ("GetCancellation", Self::GetCancellation),
        ("ListCancellations", Self::ListCancellations),
        ("StopBatch", Self::StopBatch),
        ("ListAccounts", Self::ListAccounts),
    ];
}

macro_rules! written {
    ($type:ty, $shape:literal, $remedy:literal) => {
        impl ValueType for $type {
            type Bounds = ();

            fn read(raw: &RawSetting, (): &()) -> Result<Self, Problem> {
                let Some(text) = raw.text() else {
                    return Err(Problem::new("is no text", $remedy));
                };
                text.parse()
                    .map_err(|malformed: crate::domain::ids::Malformed| {
                        Problem::new(malformed.to_string(), $remedy)
                    })
            }

            fn toml(&self) -> Option<String> {
                Some(quoted(&self.to_string()))
            }

            fn shape((): &()) -> String {
                $shape.to_owned()
            }
        }
    };
}

written!(
    San,
    "`dns:` and a name, or a URI",
    "give a name as certificates have it, such as dns:billing.internal or \
     spiffe://prod/ns/billing/sa/worker"
);
written!(
    AccountPattern,
    "account's name, with `*` for any characters",
    "give one such as rebilly-eu or rebilly-*"
);
