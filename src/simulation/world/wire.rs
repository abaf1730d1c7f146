//! Converts requests and replies between our types and HTTP's, as egress does over sockets.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    domain::{
        account::Account,
        http_exchange::{HttpMethod, Request, Response},
    },
    providers,
};

/// A request as HTTP.
pub(in crate::simulation) fn http_request(
    account: &Account,
    request: &Request,
) -> http::Request<Bytes> {
    let method = match request.method {
        HttpMethod::Get => http::Method::GET,
        HttpMethod::Post => http::Method::POST,
        HttpMethod::Put => http::Method::PUT,
        HttpMethod::Patch => http::Method::PATCH,
        HttpMethod::Delete => http::Method::DELETE,
    };
    let base = account.base_url.strip_prefix("https://simulated").unwrap();
    let pairs = request.query.iter().map(|(name, value)| {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        format!("{name}={value}")
    });
    let mut query = pairs.collect::<Vec<_>>().join("&");
    if !query.is_empty() {
        query.insert(0, '?');
    }
    let auth = providers::of(account.provider()).auth(account);
    let mut out = http::Request::builder()
        .method(method)
        .uri(format!("{base}{}{query}", request.path.as_str()))
        .header(auth.header, format!("{}secret", auth.prefix));
    for (name, value) in &request.headers {
        out = out.header(*name, value);
    }
    let body = match &request.body {
        Some(body) => {
            out = out.header("content-type", body.content_type);
            Bytes::copy_from_slice(body.text.as_bytes())
        }
        None => Bytes::new(),
    };
    out.body(body).unwrap()
}

/// A reply from HTTP.
pub(in crate::simulation) fn read(response: &http::Response<Bytes>) -> Response {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
    };
    Response::new(
        response.status().as_u16(),
        response.headers().iter().map(header).collect(),
        String::from_utf8_lossy(response.body()).into_owned(),
    )
}
