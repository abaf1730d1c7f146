//! Parses the endpoint of the service.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

/// The endpoint as a URL. `host:port` means clear text, or TLS if certificates are given.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(in crate::cli) fn url(endpoint: &str, with_tls: bool) -> Result<String, String> {
    let shown = endpoint.trim();
    let scheme = if with_tls { "https" } else { "http" };
    let refuse = |what: &str| {
        Err(format!(
            "endpoint {shown:?} {what}; write host:port, http://host:port, or https://host:port \
             for TLS"
        ))
    };
    if shown.is_empty() {
        return refuse("is empty");
    }
    // `localhost:50051` has no scheme.
    let url = match shown.split_once("://") {
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            scheme @ ("http" | "https") => format!("{scheme}://{rest}"),
            _ => return refuse(&format!("has the scheme {scheme:?}, which is not spoken")),
        },
        None => {
            let known = ["unix:", "dns:", "ipv4:", "ipv6:", "xds:", "passthrough:"];
            if let Some(scheme) = known.iter().find(|scheme| shown.starts_with(*scheme)) {
                return refuse(&format!("has the scheme {scheme:?}, which is not spoken"));
            }
            format!("{scheme}://{shown}")
        }
    };
    let Ok(uri) = url.parse::<Uri>() else {
        return refuse("is no URL");
    };
    let Some(authority) = uri.authority() else {
        return refuse("names no host");
    };
    if authority.host().is_empty() {
        return refuse("names no host");
    }
    if authority.as_str().contains('@') {
        return refuse("has a user in it, and the caller is known by --token or a certificate");
    }
    let port = authority.as_str().strip_prefix(authority.host());
    match port {
        Some("") if shown.contains("://") => {}
        Some("") => return refuse("has no port"),
        _ if authority.port_u16().is_none_or(|port| port == 0) => {
            return refuse("has no port from 1 to 65535");
        }
        _ => {}
    }
    if uri.path() != "/" || uri.query().is_some() {
        return refuse("has a path, which the service is not below");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Whether a URL's host is this machine: a loopback address, or a name that RFC 6761 reserves for
/// one. Other names are not resolved, since anyone may answer for them.
pub(in crate::cli) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => {
            let mapped = address.to_ipv4_mapped();
            address == Ipv6Addr::LOCALHOST || mapped.is_some_and(|v4| v4.is_loopback())
        }
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_and_localhost_are_this_machine_and_nothing_else_is() {
        for host in [
            "127.0.0.1",
            "127.8.9.10",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "api.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "0.0.0.0",
            "[::]",
            "10.0.0.1",
            "128.0.0.1",
            "[::ffff:10.0.0.1]",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "mylocalhost",
            "cancelot",
            "0x7f.1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_host_and_a_port_are_an_endpoint_and_other_schemes_are_none() {
        for (endpoint, expected) in [
            ("127.0.0.1:50051", "http://127.0.0.1:50051"),
            ("localhost:50051", "http://localhost:50051"),
            ("cancelot.internal:443", "http://cancelot.internal:443"),
            ("[::1]:50051", "http://[::1]:50051"),
            (" host:1 ", "http://host:1"),
            ("http://host:1/", "http://host:1"),
            ("HTTP://host:1", "http://host:1"),
            ("https://cancelot.internal", "https://cancelot.internal"),
            ("https://host:8443", "https://host:8443"),
        ] {
            assert_eq!(url(endpoint, false).as_deref(), Ok(expected));
        }
        assert_eq!(url("host:1", true).as_deref(), Ok("https://host:1"));
        for endpoint in [
            "",
            "grpc://host:1",
            "grpcs://host:1",
            "ftp://host:1",
            "dns:///host:1",
            "dns:host:1",
            "unix:/run/x.sock",
            "unix:///run/x.sock",
            "tcp://host:1",
            "host",
            "::1",
            "host:",
            "host:port",
            "host:0",
            "host:70000",
            ":50051",
            "http://",
            "http://host:1/path",
            "http://host:1?x",
            "user:word@host:1",
            "host:1/path",
            "ho st:1",
        ] {
            let told = url(endpoint, false).unwrap_err();
            assert!(told.contains("write host:port"), "{endpoint}: {told}");
        }
    }
}
