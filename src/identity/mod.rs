//! Who calls and what each caller may: from proofs (a token, a JWT, a certificate) to a caller, and
//! from a caller to a policy. Knows no gRPC, no files and no HTTP: what is shown to it was received
//! elsewhere, and keys and tokens are put here by whoever read them.

mod callers;
mod certificate;
mod issuer;
mod keys;
mod policy;
#[cfg(test)]
mod properties;
mod revoked;
mod shown;
mod token;
mod unproven;
mod validity;

pub use self::{
    callers::{Caller, CallerSettings, Callers, Proofs, Shared, Subject},
    certificate::{Authority, Certificate, San},
    issuer::{Algorithm, Claims, Issuer, IssuerSettings, JwtFault},
    keys::Keys,
    policy::{Method, Policy},
    revoked::Revoked,
    shown::Proof,
    token::TokenDigest,
    unproven::{KEYS_UNAVAILABLE, Unproven},
    validity::Validity,
};
