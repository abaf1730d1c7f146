//! The reqwest client of one account: each option, each timeout, and why it is set.

use std::time::Duration;

use reqwest::{Certificate, Client};

use super::EgressOptions;
use crate::limits;

/// Builds the client. With `trusted`, only certificates of these authorities are accepted, not the
/// system's.
pub(super) fn build(options: &EgressOptions, trusted: &[Certificate]) -> Result<Client, String> {
    let ms = Duration::from_millis;
    let mut client = Client::builder()
        .user_agent(concat!("cancelot/", env!("CARGO_PKG_VERSION")))
        // A client that resends by itself would break the rules of doubt.
        .retry(reqwest::retry::never())
        // A redirect could carry a cancellation and its credential anywhere.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        // TCP and TLS together. No request is sent before, so this timeout leaves no doubt. There
        // is no other client timeout, because `DeadlineLayer` bounds the whole exchange.
        .connect_timeout(options.connect_timeout)
        // Below the idle timeout of servers and load balancers (60 s and more), so that a
        // connection is not used at the moment they close it.
        .pool_idle_timeout(ms(limits::CONNECTION_IDLE_MS_MAX))
        .pool_max_idle_per_host(options.concurrency_max)
        .tcp_nodelay(true)
        // All requests of an account may share one HTTP/2 connection. If it dies silently, each of
        // them, and the next ones, would wait for its whole timeout; a ping detects that. Idle
        // connections are pinged too, so that no request is put on a dead one.
        .http2_keep_alive_interval(ms(limits::PING_AFTER_MS))
        .http2_keep_alive_timeout(ms(limits::PING_TIMEOUT_MS))
        .http2_keep_alive_while_idle(true)
        // The same for HTTP/1.1, where only TCP can probe while a reply is awaited.
        .tcp_keepalive(ms(limits::PING_AFTER_MS))
        .tcp_keepalive_interval(ms(limits::PING_TIMEOUT_MS))
        .tcp_keepalive_retries(3)
        // Accept header mistakes that other clients accept: such servers exist, and a mistake is no
        // reason to doubt a cancellation. Body length stays strict: a folded or spaced length
        // header is read and not skipped, and two that differ end the connection.
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(limits::REPLY_HEADERS_MAX)
        .http2_max_header_list_size(limits::REPLY_HEADERS_BYTES_MAX);
    // Keepalive does not probe while sent bytes are unacknowledged; this timeout covers them.
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
