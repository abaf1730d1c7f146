//! The forms that text settings have: what each takes, and what it says of the rest. None
//! repeats a text that it refuses.

use super::value_type::ValueForm;
use crate::{
    config::{did_you_mean, error::Problem},
    domain::ids::TargetId,
};

/// Characters of a URL.
const URL_CHARS_MAX: usize = 2_000;
/// Characters of a credential: a long JWT has some 4,000.
pub(in crate::config) const SECRET_CHARS_MAX: usize = 8_000;

/// Where an API is: scheme, host, perhaps a port and a path.
pub(in crate::config) const BASE_URL: ValueForm = ValueForm {
    shape: "URL",
    parse: |text| base_url(text).map(|url| url.text),
};

/// A path below a base URL.
pub(in crate::config) const PATH: ValueForm = ValueForm {
    shape: "path without a slash at either end",
    parse: |text| match path_problem(text) {
        None => Ok(text.to_owned()),
        Some(problem) => Err(Problem::new(
            problem,
            "give one such as v2/subscriptions/get",
        )),
    },
};

/// An id that a provider chose.
pub(in crate::config) const ID: ValueForm = ValueForm {
    shape: "1-255 letters, digits and -_.~:@+=",
    parse: |text| match TargetId::try_from(text) {
        // What has a meaning in a URL could be read as another address on the way.
        Ok(id) if id.as_str().chars().all(is_of_ids) => Ok(id.as_str().to_owned()),
        Ok(_) | Err(_) => Err(Problem::new(
            "is no id",
            "give 1-255 ASCII letters, digits and -_.~:@+=, and not \".\" or \"..\"",
        )),
    },
};

fn is_of_ids(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.~:@+=".contains(c)
}

/// An id that is sent as a header.
pub(in crate::config) const HEADER: ValueForm = ValueForm {
    shape: "1-255 printable ASCII characters",
    parse: |text| {
        if text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(text.to_owned())
        } else {
            Err(Problem::new(
                "cannot be a header's value",
                "give 1-255 printable ASCII characters without spaces",
            ))
        }
    },
};

/// A JWT's claim, or part of one.
pub(in crate::config) const CLAIM: ValueForm = ValueForm {
    shape: "1-1,000 characters",
    parse: |text| {
        if text.len() <= 1_000 && !text.chars().any(char::is_control) {
            Ok(text.to_owned())
        } else {
            Err(Problem::new(
                "is no claim's value",
                "give 1-1,000 characters, none of them a control character",
            ))
        }
    },
};

/// A JWT's claim with its value.
pub(in crate::config) const NAMED_CLAIM: ValueForm = ValueForm {
    shape: "`name=value`",
    parse: |text| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => (CLAIM.parse)(text),
        _ => Err(Problem::new(
            "is no claim with its value",
            "give one such as azp=billing",
        )),
    },
};

/// The name of an environment variable.
pub(in crate::config) const VARIABLE: ValueForm = ValueForm {
    shape: "name of a variable",
    parse: |text| {
        let begins_well = !text.starts_with(|c: char| c.is_ascii_digit());
        let all_well = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if begins_well && all_well {
            Ok(text.to_owned())
        } else {
            Err(Problem::new(
                "is no name of an environment variable",
                "give the variable's name, not the secret itself",
            ))
        }
    },
};

/// A secret: see [`crate::config::section::secret`].
pub(in crate::config) const SECRET: ValueForm = ValueForm {
    shape: "the secret",
    parse: |text| Ok(text.to_owned()),
};

/// Directives of tracing-subscriber.
pub(in crate::config) const LOG_FILTER: ValueForm = ValueForm {
    shape: "filter directives",
    parse: |text| {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let misspelled = text
            .split(',')
            .map(|directive| directive.rsplit('=').next().unwrap_or_default().trim())
            .filter(|word| !LEVELS.contains(&word.to_ascii_lowercase().as_str()))
            .find_map(|word| did_you_mean::nearest(word, LEVELS));
        // A misspelled level is a legal filter, and one that logs nothing.
        if let Some(level) = misspelled {
            return Err(Problem::new(
                "misspells a level",
                format!("did you mean {level}?"),
            ));
        }
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(Problem::new(
                "is no filter",
                "give a level (error, warn, info, debug, trace) or directives such as \
                 info,cancelot::egress=debug",
            )),
        }
    },
};

/// A base URL in its parts.
pub(in crate::config) struct BaseUrl {
    /// All of it, without a slash at the end.
    pub(in crate::config) text: String,
    /// Whether it begins with `https://`.
    pub(in crate::config) is_https: bool,
    /// Whether its host is this machine.
    pub(in crate::config) is_loopback: bool,
}

/// Takes a base URL apart.
pub(in crate::config) fn base_url(text: &str) -> Result<BaseUrl, Problem> {
    let problem = |problem: &str| {
        Problem::new(
            problem,
            "give scheme, host, and perhaps port and path, such as https://api.example.com/v1",
        )
    };
    if text.len() > URL_CHARS_MAX {
        return Err(problem("is too long for a URL"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(problem("does not begin with https://"));
    };
    let is_https = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(problem("begins with neither https:// nor http://")),
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path.trim_end_matches('/')),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err(problem(
            "holds a user or password, which has no place in a URL",
        ));
    }
    let host = host(authority).ok_or_else(|| problem("has no legal host and port"))?;
    if !path.is_empty()
        && let Some(path_problem) = path_problem(path)
    {
        return Err(problem(path_problem));
    }
    let slash = if path.is_empty() { "" } else { "/" };
    Ok(BaseUrl {
        text: format!(
            "{}://{}{slash}{path}",
            scheme.to_ascii_lowercase(),
            authority.to_ascii_lowercase()
        ),
        is_https,
        is_loopback: is_loopback(host),
    })
}

/// The host of an authority whose port, if it has one, is legal. IPv6 without its brackets.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(at);
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if host.is_empty() || !host.bytes().all(legal) {
                return None;
            }
            (host, port)
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some(host),
        None => None,
        Some(port) => port.parse::<std::num::NonZeroU16>().is_ok().then_some(host),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What keeps a text from being a path without a slash at either end.
fn path_problem(text: &str) -> Option<&'static str> {
    if text.len() > URL_CHARS_MAX {
        return Some("is too long for a path");
    }
    if text.contains(['?', '#']) {
        return Some("has a query or fragment");
    }
    // RFC 3986, pchar and slash.
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&b);
    if !text.bytes().all(legal) {
        return Some("has characters in its path that no URL can have, such as a space");
    }
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    text.split('/')
        .any(odd)
        .then_some("has a path with an empty segment, \".\" or \"..\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(text: &str, expected: &str) {
        match base_url(text) {
            Ok(url) => {
                let loopback = if url.is_loopback { " loopback" } else { "" };
                assert_eq!(format!("{}{loopback}", url.text), expected);
            }
            Err(problem) => assert_eq!(problem.problem, expected),
        }
    }

    #[test]
    fn a_base_url_loses_its_last_slash_and_keeps_its_path() {
        check_url("https://api.rebilly.com", "https://api.rebilly.com");
        check_url("HTTPS://API.Rebilly.com/", "https://api.rebilly.com");
        check_url(
            "https://h.example:8443/API/v1//",
            "https://h.example:8443/API/v1",
        );
        check_url("http://127.0.0.1:9/x", "http://127.0.0.1:9/x loopback");
        check_url("http://[::1]:9", "http://[::1]:9 loopback");
        check_url("http://localhost", "http://localhost loopback");
        check_url(
            "http://127.0.0.1.example.com",
            "http://127.0.0.1.example.com",
        );
    }

    #[test]
    fn a_base_url_that_is_none_is_refused_with_the_reason() {
        let no_host = "has no legal host and port";
        check_url("api.rebilly.com", "does not begin with https://");
        check_url("ftp://h", "begins with neither https:// nor http://");
        check_url("https://", no_host);
        check_url("https://h:0", no_host);
        check_url("https://h:65536", no_host);
        check_url("https://h:", no_host);
        check_url("https://[::1", no_host);
        check_url("https://[h]", no_host);
        check_url("https://[::1]x", no_host);
        check_url(
            "https://user:password@h",
            "holds a user or password, which has no place in a URL",
        );
        // Revolv3's own specification has a trailing space in its server's URL.
        check_url("https://api-sandbox.revolv3.com ", no_host);
        check_url("https://h?key=1", no_host);
        check_url("https://h/v1?key=1", "has a query or fragment");
        let segments = "has a path with an empty segment, \".\" or \"..\"";
        check_url("https://h/a/../b", segments);
        check_url("https://h/a//b", segments);
        check_url(
            "https://h/a b",
            "has characters in its path that no URL can have, such as a space",
        );
    }

    #[test]
    fn a_misspelled_level_is_no_filter() {
        for good in [
            "info",
            "WARN",
            "info,cancelot::egress=debug",
            "cancelot=trace",
            "off",
        ] {
            assert!((LOG_FILTER.parse)(good).is_ok(), "{good}");
        }
        for bad in ["inof", "info,cancelot=debgu", "cancelot=[", "=="] {
            assert!((LOG_FILTER.parse)(bad).is_err(), "{bad}");
        }
    }
}
