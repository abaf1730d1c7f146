//! The HTTP client of one account: every switch and every time that it has, and why.

use std::time::Duration;

use reqwest::{Certificate, Client};

use super::EgressOptions;
use crate::limits;

/// Builds it. With `trusted`, only what those authorities vouch for is believed, in place of the
/// system's.
pub(super) fn build(options: &EgressOptions, trusted: &[Certificate]) -> Result<Client, String> {
    let ms = Duration::from_millis;
    let mut client = Client::builder()
        .user_agent(concat!("cancelot/", env!("CARGO_PKG_VERSION")))
        // A client that resends by itself would break the promise about doubt.
        .retry(reqwest::retry::never())
        // A redirect could carry a cancellation, and its credential, anywhere.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        // TCP and TLS together. Nothing of a request is sent before, so this end leaves no doubt.
        // What follows has no time of the client's own: `DeadlineLayer` bounds a whole exchange.
        .connect_timeout(options.connect_timeout)
        // Below what servers and load balancers allow (60 s and more), so that a connection is
        // not used in the moment in which they close it.
        .pool_idle_timeout(ms(limits::CONNECTION_IDLE_MS_MAX))
        .pool_max_idle_per_host(options.concurrency_max)
        .tcp_nodelay(true)
        // All requests of an account may be on one connection of HTTP/2. If that dies without a
        // word, each of them would wait for its whole time, and so would the next ones: a ping
        // finds it out. Idle ones are asked too, so that nothing is put on a dead one.
        .http2_keep_alive_interval(ms(limits::PING_AFTER_MS))
        .http2_keep_alive_timeout(ms(limits::PING_TIMEOUT_MS))
        .http2_keep_alive_while_idle(true)
        // The same for HTTP/1.1, where only TCP can ask while an answer is awaited.
        .tcp_keepalive(ms(limits::PING_AFTER_MS))
        .tcp_keepalive_interval(ms(limits::PING_TIMEOUT_MS))
        .tcp_keepalive_retries(3)
        // An answer that everyone else can read is read here too: servers write such headers, and
        // they are no reason to be in doubt about a cancellation. What says how long a body is
        // stays strict: a folded or spaced one is read and not skipped, and two that differ end
        // the connection.
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(limits::REPLY_HEADERS_MAX)
        .http2_max_header_list_size(limits::REPLY_HEADERS_BYTES_MAX);
    // Sent bytes that nobody acknowledges: the keepalive does not look while some are on the way.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    {
        client = client.tcp_user_timeout(ms(limits::TCP_USER_TIMEOUT_MS));
    }
    if let Some(url) = &options.proxy_url {
        let proxy = reqwest::Proxy::all(url)
            .map_err(|error| format!("proxy {url:?} cannot be used: {error}"))?;
        client = client.proxy(proxy);
    }
    if !trusted.is_empty() {
        client = client.tls_certs_only(trusted.iter().cloned());
    }
    client.build().map_err(|error| error.to_string())
}
