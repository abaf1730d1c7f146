//! Why nobody knows whose a call is. The caller is not told: it could try what is wrong.

use super::jwt::JwtFault;
use crate::{domain::ids::CallerId, limits};

/// Why nobody knows whose a call is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It shows nothing.
    #[error("show who calls: a token as metadata `authorization: Bearer <token>`{0}")]
    Nothing(&'static str),
    /// Its header holds no bearer token.
    #[error("the authorization metadata is not `Bearer <token>`")]
    NoBearer,
    /// Its token is longer than any token is.
    #[error("the token is longer than {} bytes", limits::TOKEN_BYTES_MAX)]
    LongToken,
    /// Its token is no configured caller's.
    #[error("the token is not one of a configured caller")]
    UnknownToken,
    /// Its JWT is not good.
    #[error(transparent)]
    Jwt(#[from] JwtFault),
    /// Its JWT is good, and of nobody who is configured.
    #[error("the token's subject is no configured caller's")]
    UnknownSubject,
    /// Its JWT lacks what that caller's have to have.
    #[error("the token's claim {0} is not what this caller's has to be")]
    OtherClaim(String),
    /// Its certificate is good, and of nobody who is configured.
    #[error("the certificate's names are no configured caller's")]
    UnknownCertificate,
    /// Its proof is good, and this caller has to show another one beside it.
    #[error("this caller has to show its certificate and its token, and {0} is missing")]
    Incomplete(&'static str),
    /// Its proof was good and is on the list of those that are revoked.
    #[error("the {0} is revoked (server.revoked_file)")]
    Revoked(&'static str),
    /// Its caller was taken out of the configuration while its request arrived.
    #[error("{0} is a caller no more")]
    Gone(CallerId),
    /// Two proofs, or two names of a certificate, are of two callers.
    #[error("what is shown is of two callers, {0} and {1}")]
    TwoCallers(CallerId, CallerId),
}

/// The word for [`JwtFault::NoKeys`]: it is not the caller's fault.
pub const KEYS_UNAVAILABLE: &str = "KEYS_UNAVAILABLE";

impl AuthError {
    /// All the words of [`AuthError::reason`].
    pub const REASONS: [&str; 10] = [
        "CALLER_GONE",
        "CERTIFICATE_UNKNOWN",
        "CREDENTIALS_CONTRADICT",
        "CREDENTIALS_INCOMPLETE",
        "CREDENTIALS_MISSING",
        "CREDENTIALS_REVOKED",
        "JWT_INVALID",
        "SUBJECT_UNKNOWN",
        "TOKEN_INVALID",
        KEYS_UNAVAILABLE,
    ];

    /// A stable word for it, in `SCREAMING_SNAKE_CASE`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Nothing(_) => "CREDENTIALS_MISSING",
            Self::NoBearer | Self::LongToken | Self::UnknownToken => "TOKEN_INVALID",
            Self::Jwt(JwtFault::NoKeys { .. }) => KEYS_UNAVAILABLE,
            Self::Jwt(_) | Self::OtherClaim(_) => "JWT_INVALID",
            Self::UnknownSubject => "SUBJECT_UNKNOWN",
            Self::UnknownCertificate => "CERTIFICATE_UNKNOWN",
            Self::Incomplete(_) => "CREDENTIALS_INCOMPLETE",
            Self::Revoked(_) => "CREDENTIALS_REVOKED",
            Self::Gone(_) => "CALLER_GONE",
            Self::TwoCallers(..) => "CREDENTIALS_CONTRADICT",
        }
    }

    /// Whether it is a JWT that does not prove anybody. Such calls are answered alike, whatever is
    /// wrong: see [`crate::identity::Callers::lacks_keys`].
    #[must_use]
    pub fn is_of_a_jwt(&self) -> bool {
        match self {
            Self::Jwt(_) | Self::UnknownSubject | Self::OtherClaim(_) => true,
            Self::Revoked(what) => *what == REVOKED_JWT,
            _ => false,
        }
    }
}

/// What [`AuthError::Revoked`] calls the kinds of proofs.
pub(super) const REVOKED_TOKEN: &str = "token";
pub(super) const REVOKED_JWT: &str = "JWT";
pub(super) const REVOKED_CERTIFICATE: &str = "certificate";
