//! Who calls: a bearer token names a caller, unless none is configured.

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tonic::{Request, Status, service::Interceptor};

use crate::domain::ids::CallerId;

/// The configured callers. Tokens are kept as digests, so comparing them tells nothing of them.
#[derive(Clone, Default)]
pub struct Callers {
    tokens: std::sync::Arc<[([u8; 32], CallerId)]>,
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.tokens.iter().map(|(_, caller)| caller))
            .finish()
    }
}

impl Callers {
    /// Callers with their tokens.
    #[must_use]
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a CallerId, &'a SecretString)>) -> Self {
        let digest = |(caller, token): (&CallerId, &SecretString)| {
            (
                Sha256::digest(token.expose_secret().as_bytes()).into(),
                caller.clone(),
            )
        };
        Self {
            tokens: tokens.into_iter().map(digest).collect(),
        }
    }

    fn caller(&self, authorization: Option<&str>) -> Result<CallerId, Status> {
        if self.tokens.is_empty() {
            return Ok(CallerId::anonymous());
        }
        let token = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| {
                Status::unauthenticated("send a token as metadata: `authorization: Bearer <token>`")
            })?;
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.tokens
            .iter()
            .find(|(known, _)| *known == digest)
            .map(|(_, caller)| caller.clone())
            .ok_or_else(|| Status::unauthenticated("the token is not one of a configured caller"))
    }
}

impl Interceptor for Callers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let authorization = request.metadata().get("authorization");
        let caller = self.caller(authorization.and_then(|value| value.to_str().ok()))?;
        request.extensions_mut().insert(caller);
        // Before the message is read: a deadline counts from here.
        request
            .extensions_mut()
            .insert(super::deadline::Arrived::now());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_caller_and_nothing_else_does() {
        let billing = CallerId::try_from("billing").unwrap();
        let token = SecretString::from("t0ken");
        let callers = Callers::new([(&billing, &token)]);
        assert_eq!(callers.caller(Some("Bearer t0ken")).unwrap(), billing);
        assert_eq!(callers.caller(Some("bearer t0ken")).unwrap(), billing);
        for wrong in [
            None,
            Some("t0ken"),
            Some("Bearer other"),
            Some("Basic t0ken"),
            Some(""),
        ] {
            let status = callers.caller(wrong).unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{wrong:?}");
        }
        assert_eq!(
            Callers::default().caller(None).unwrap(),
            CallerId::anonymous()
        );
    }
}
