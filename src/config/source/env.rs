//! The environment as a value, so that only one function reads the real one and tests bring
//! their own. Its `Debug` shows names, never values.

use std::{collections::BTreeMap, ffi::OsString, fmt};

/// What every variable of ours begins with.
pub(in crate::config) const PREFIX: &str = "CANCELOT_";

/// Variables of ours that are no settings: the command line reads them as its options.
pub(in crate::config) const OPTIONS: [&str; 10] = [
    // The configuration file.
    "CANCELOT_CONFIG",
    // For clients: where the service is, and what to show it.
    "CANCELOT_ENDPOINT",
    "CANCELOT_CONNECT_TIMEOUT",
    "CANCELOT_TOKEN",
    "CANCELOT_TOKEN_FILE",
    "CANCELOT_ALLOW_PLAINTEXT_TOKEN",
    "CANCELOT_TLS_CA_FILE",
    "CANCELOT_TLS_CERT_FILE",
    "CANCELOT_TLS_KEY_FILE",
    "CANCELOT_TLS_SERVER_NAME",
];

/// Environment variables.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, Option<String>>);

impl Env {
    /// The environment of this process.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// With one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, text: &str) -> Self {
        self.0.insert(name.to_owned(), Some(text.to_owned()));
        self
    }

    /// Without those whose names are such.
    #[must_use]
    pub fn without(mut self, is_out: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|name, _| !is_out(name));
        self
    }

    /// A variable's text; `None` if it is not set.
    ///
    /// # Errors
    /// If its value is not UTF-8.
    pub fn get(&self, name: &str) -> Result<Option<&str>, NotUtf8> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(text)),
            Some(None) => Err(NotUtf8),
        }
    }

    /// The variables that are addressed to this program, by name.
    pub(in crate::config) fn ours(&self) -> impl Iterator<Item = (&str, Result<&str, NotUtf8>)> {
        self.0
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .filter(|(name, _)| !OPTIONS.contains(&name.as_str()))
            .filter(|(name, text)| !is_service_link(name, text.as_deref()))
            .map(|(name, text)| (name.as_str(), text.as_deref().ok_or(NotUtf8)))
    }
}

/// A variable's value is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not valid UTF-8")]
pub struct NotUtf8;

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(OsString, OsString)> for Env {
    /// Names that are not UTF-8 are none that anybody here asks for.
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self(
            variables
                .filter_map(|(name, text)| {
                    Some((name.into_string().ok()?, text.into_string().ok()))
                })
                .collect(),
        )
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Env {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        variables
            .map(|(name, text)| (OsString::from(name), OsString::from(text)))
            .collect()
    }
}

/// Kubernetes describes every Service of a namespace to every pod in variables that begin with
/// the Service's name, and a Service of ours is called `cancelot` or `cancelot-something`
/// (kubernetes.io, "Accessing the Service", environment variables). They are no settings.
fn is_service_link(name: &str, text: Option<&str>) -> bool {
    let Some(text) = text else { return false };
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_ADDR") {
        return is_address(text);
    }
    if name.contains("_SERVICE_PORT") {
        return is_port(text);
    }
    let Some((_, tail)) = name.split_once("_PORT") else {
        return false;
    };
    match tail.rsplit('_').next() {
        Some("PROTO") => matches!(text, "tcp" | "udp" | "sctp"),
        Some("PORT") => is_port(text),
        _ => is_url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_of_our_name_are_not_ours() {
        let env: Env = [
            ("CANCELOT_SERVICE_HOST", "10.0.0.7"),
            ("CANCELOT_SERVICE_PORT", "50051"),
            ("CANCELOT_SERVICE_PORT_GRPC", "50051"),
            ("CANCELOT_PORT", "tcp://10.0.0.7:50051"),
            ("CANCELOT_PORT_50051_TCP", "tcp://10.0.0.7:50051"),
            ("CANCELOT_PORT_50051_TCP_PROTO", "tcp"),
            ("CANCELOT_PORT_50051_TCP_PORT", "50051"),
            ("CANCELOT_PORT_50051_TCP_ADDR", "10.0.0.7"),
            ("CANCELOT_HEADLESS_SERVICE_HOST", "10.0.0.8"),
        ]
        .into_iter()
        .collect();
        assert_eq!(env.ours().count(), 0);
    }

    #[test]
    fn everything_else_that_begins_with_our_name_is_ours() {
        let env: Env = [
            ("CANCELOT_SERVER_LISTEN", "127.0.0.1:1"),
            ("CANCELOT_PORT", "50051"),
            ("CANCELOT_SERVICE_HOST", "here"),
            ("CANCELOT_CONFIG", "cancelot.toml"),
            ("PATH", "/bin"),
        ]
        .into_iter()
        .collect();
        let names: Vec<_> = env.ours().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "CANCELOT_PORT",
                "CANCELOT_SERVER_LISTEN",
                "CANCELOT_SERVICE_HOST"
            ]
        );
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let env: Env = [("CANCELOT_TOKEN", "planted")].into_iter().collect();
        assert_eq!(format!("{env:?}"), r#"{"CANCELOT_TOKEN"}"#);
    }
}
