//! A complete reply is read in any encoding, and only as the reply to its own request.

use super::{CREDENTIAL, answered, call, in_doubt, request, stub::answering, way};
use crate::{
    domain::http_exchange::{FaultKind, Path, Reply, Request, Safety},
    egress::reply_body::packing::gzip,
    limits,
};

const JSON: &str = r#"{"status":"canceled"}"#;

/// A reply with these header lines and this body.
fn answer(lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{lines}\r\n");
    [head.as_bytes(), body].concat()
}

async fn reply_to(bytes: Vec<u8>) -> Reply {
    let (addr, _heard) = answering(vec![bytes]).await;
    call(&way(addr)).await
}

async fn check_read(bytes: Vec<u8>) {
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    let response = answered(reply_to(bytes).await);
    assert_eq!(response.text, JSON, "{shown:?}");
    assert!(response.json.is_some(), "{shown:?}");
}

#[tokio::test]
async fn headers_that_a_strict_parser_refuses_lose_no_answer() {
    let many: String = (0..limits::REPLY_HEADERS_MAX - 20)
        .map(|i| format!("X-Number-{i}: {i}\r\n"))
        .collect();
    let long = format!("X-Long: {}\r\n", "x".repeat(64 * 1024));
    for lines in [
        "X-Spaced : 1\r\n",
        "X-Folded: 1\r\n 2\r\n\t3\r\n",
        "X Name: 1\r\n",
        "X-\u{e9}: 1\r\n",
        "no header at all\r\n",
        ": no name\r\n",
        "X-Control: a\u{1}b\r\n",
        "X-Latin: \u{e9}\r\n",
        many.as_str(),
        long.as_str(),
    ] {
        check_read(answer(lines, JSON.as_bytes())).await;
    }
}

#[tokio::test]
async fn a_spaced_or_folded_length_is_read_and_not_skipped() {
    for head in [
        "Content-Length : 21\r\n",
        "Content-Length:\r\n 21\r\n",
        "Content-Length: 21\r\nContent-Length: 21\r\n",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n{JSON}");
        check_read(bytes.into_bytes()).await;
    }
    for head in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n15\r\n{JSON}\r\n0\r\n\r\n");
        check_read(bytes.into_bytes()).await;
    }
}

#[tokio::test]
async fn lengths_that_contradict_each_other_are_no_answer() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 21\r\n";
    let reply = reply_to(format!("{head}\r\n{JSON}").into_bytes()).await;
    in_doubt(&reply, FaultKind::Broken);
}

#[tokio::test]
async fn a_body_in_another_form_than_asked_for_is_read() {
    let utf16: Vec<u8> = format!("\u{feff}{JSON}")
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    for body in [
        format!("\u{feff}{JSON}").into_bytes(),
        format!("\0\0{JSON}\0").into_bytes(),
        format!("\u{b}\u{c}\u{a0}{JSON}\r\n\0").into_bytes(),
        utf16,
    ] {
        check_read(answer("", &body)).await;
    }
    let packed = gzip(JSON.as_bytes());
    for (lines, body) in [
        ("Content-Encoding: gzip\r\n", &packed),
        ("CONTENT-ENCODING: GZIP\r\n", &packed),
        (
            "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n",
            &gzip(&packed),
        ),
        ("", &packed),
    ] {
        check_read(answer(lines, body)).await;
    }
}

#[tokio::test]
async fn what_is_not_whole_or_too_long_when_unpacked_is_in_doubt() {
    let packed = gzip(JSON.as_bytes());
    let cut = &packed[..packed.len() - 1];
    let reply = reply_to(answer("Content-Encoding: gzip\r\n", cut)).await;
    let why = in_doubt(&reply, FaultKind::Broken);
    assert!(
        why.starts_with("the answer (HTTP 200) cannot be unpacked"),
        "{why}"
    );
    let bomb = gzip(&vec![b' '; limits::REPLY_BYTES_MAX + 1]);
    let reply = reply_to(answer("Content-Encoding: gzip\r\n", &bomb)).await;
    in_doubt(&reply, FaultKind::TooLong);
}

#[tokio::test]
async fn a_credential_that_is_echoed_in_a_packed_answer_is_taken_out() {
    let body = gzip(format!(r#"{{"key":"{CREDENTIAL}"}}"#).as_bytes());
    let response = answered(reply_to(answer("Content-Encoding: gzip\r\n", &body)).await);
    assert!(response.json.is_some());
    assert!(!response.text.contains(CREDENTIAL), "{}", response.text);
}

#[tokio::test]
async fn a_second_answer_to_one_request_is_not_that_to_the_next() {
    let twice = answer("", b"1");
    let twice = [twice.as_slice(), &answer("", b"2")].concat();
    let (addr, _heard) = answering(vec![twice, answer("", b"3")]).await;
    let way = way(addr);
    assert_eq!(answered(call(&way).await).text, "1");
    assert_eq!(answered(call(&way).await).text, "3");
}

#[tokio::test]
async fn a_redirect_is_an_answer_that_says_where_to() {
    let head = "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n";
    let bytes = format!("{head}Location: https://elsewhere.example/x\r\n\r\n");
    let response = answered(reply_to(bytes.into_bytes()).await);
    assert_eq!(response.status, 307);
    assert_eq!(
        response.header("location"),
        Some("https://elsewhere.example/x")
    );
}

#[tokio::test]
async fn no_packed_answer_is_asked_for_and_no_remembered_one_to_a_look() {
    let answers = vec![answer("", b"{}"), answer("", b"{}")];
    let (addr, mut heard) = answering(answers).await;
    let way = way(addr);
    for safety in [Safety::Look, Safety::Once] {
        answered(way.call(request(safety)).await);
        let head = heard.recv().await.unwrap().to_ascii_lowercase();
        assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
        let fresh = head.contains("\r\ncache-control: no-cache\r\n");
        assert_eq!(fresh, safety == Safety::Look, "{head}");
    }
}

/// Such an item has been rejected before; this is the last line of defence.
#[tokio::test]
async fn nothing_is_sent_to_a_path_that_somebody_could_read_otherwise() {
    let (addr, mut heard) = answering(vec![answer("", b"{}")]).await;
    let way = way(addr);
    for id in ["../customers/cus_2", "..%2Fcustomers", "a?b", "a\\b"] {
        let astray = Request {
            path: Path::fixed("subscriptions").segment(id),
            ..request(Safety::Look)
        };
        let reply = way.call(astray).await;
        assert!(matches!(reply, Reply::NotSent(_)), "{id}: {reply:?}");
    }
    answered(way.call(request(Safety::Look)).await);
    assert!(heard.recv().await.unwrap().starts_with("GET /x "));
}
