//! Answers requests that are no gRPC calls with HTTP statuses, so that no client takes the 200 of a
//! gRPC error for success: 405 for methods other than POST, 415 for other content types.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::{Status, body::Body};

use super::rejection_log::{CallContext, RejectionLog};

/// Content types of calls; a parameter may follow.
const CONTENT_TYPES: [&str; 2] = ["application/grpc", "application/grpc+proto"];

/// The response to a request that is no gRPC call; `None` for a call.
#[must_use]
pub fn refuse<B>(request: &Request<B>, refusals: &RejectionLog) -> Option<Response<Body>> {
    let (code, status) = fault(request)?;
    let told = status.message().to_owned();
    let mut answer = status.into_http();
    refusals.look(&CallContext::by(request), &answer);
    *answer.status_mut() = code;
    *answer.body_mut() = Body::new(http_body_util::Full::from(format!("{told}\n")));
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if code == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    Some(answer)
}

fn fault<B>(request: &Request<B>) -> Option<(StatusCode, Status)> {
    if request.method() != Method::POST {
        let status = Status::unimplemented("gRPC is called with POST");
        return Some((StatusCode::METHOD_NOT_ALLOWED, status));
    }
    if !is_grpc(request.headers()) {
        let status = Status::invalid_argument(
            "the content-type is neither application/grpc nor application/grpc+proto",
        );
        return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, status));
    }
    None
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter().peekable();
    types.peek().is_some()
        && types.all(|value| {
            let name = value.to_str().unwrap_or_default().split(';').next();
            let name = name.unwrap_or_default().trim();
            CONTENT_TYPES
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        })
}

/// Bytes before each message: a flag and the length.
pub(in crate::rpc) const PREFIX_BYTES: usize = 5;

/// UNIMPLEMENTED if there are bytes after the first message, since every RPC takes one message. A
/// truncated message is left to the decoder.
pub(in crate::rpc) fn one_message(body: &[u8]) -> Result<(), Status> {
    let Some((prefix, rest)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(());
    };
    let [_, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if rest.len() > length {
        return Err(Status::unimplemented(
            "the request has more than one message, and the RPC takes one",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &str, types: &[&str]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri("/a/B");
        for value in types {
            request = request.header(header::CONTENT_TYPE, *value);
        }
        let request = request.body(()).unwrap();
        let answer = refuse(&request, &RejectionLog::default())?;
        assert!(answer.headers().contains_key("grpc-status"));
        Some(answer.status().as_u16())
    }

    #[test]
    fn only_a_post_of_grpc_is_a_call() {
        for known in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC",
            "application/grpc; charset=utf-8",
            "application/grpc+proto;x=y",
        ] {
            assert_eq!(code("POST", &[known]), None, "{known}");
        }
        for other in [
            "application/json",
            "application/grpc+json",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/grpcfoo",
            "application/grpc/proto",
            "application/proto",
            "application/x-protobuf",
            "application/octet-stream",
            "text/plain",
            "multipart/form-data; boundary=application/grpc",
            "",
            ";application/grpc",
            "application/json, application/grpc",
        ] {
            assert_eq!(code("POST", &[other]), Some(415), "{other}");
        }
        assert_eq!(code("POST", &[]), Some(415));
        assert_eq!(
            code("POST", &["application/grpc", "application/json"]),
            Some(415)
        );
        for method in [
            "GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "post",
        ] {
            assert_eq!(code(method, &["application/grpc"]), Some(405), "{method}");
        }
    }

    #[test]
    fn nothing_may_be_behind_the_message() {
        let framed = |length: u32, body: &[u8]| [&[0][..], &length.to_be_bytes(), body].concat();
        for whole in [
            vec![],
            vec![0; 4],
            framed(0, b""),
            framed(3, b"abc"),
            framed(3, b"ab"),
        ] {
            assert!(one_message(&whole).is_ok(), "{whole:?}");
        }
        let two = [framed(3, b"abc"), framed(3, b"abc")].concat();
        let empty = [framed(0, b""), framed(0, b"")].concat();
        for more in [two, empty, framed(3, b"abcd")] {
            let code = one_message(&more).unwrap_err().code();
            assert_eq!(code, tonic::Code::Unimplemented, "{more:?}");
        }
    }
}
