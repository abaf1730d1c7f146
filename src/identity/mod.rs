//! Who calls and what each caller may: from proofs (a token, a JWT, a certificate) to a caller, and
//! from a caller to a policy. Knows no gRPC, no files and no HTTP: what is shown to it was received
//! elsewhere, and keys and tokens are put here by whoever read them.

mod auth_error;
mod callers;
mod certificate;
mod certificate_validity;
mod jwks;
mod jwt;
mod policy;
mod proof;
#[cfg(test)]
mod properties;
mod revoked;
mod token;

pub use self::{
    auth_error::{AuthError, KEYS_UNAVAILABLE},
    callers::{Caller, CallerSettings, Callers, Credentials, DuplicateToken, Subject},
    certificate::{Authority, Certificate, San},
    certificate_validity::CertificateValidity,
    jwks::Jwks,
    jwt::{Algorithm, Claims, Issuer, IssuerSettings, JwtFault},
    policy::{Method, Policy},
    proof::Proof,
    revoked::Revoked,
    token::TokenDigest,
};
