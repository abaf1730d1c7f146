//! The HTTP client as the engine uses it, against handmade providers.

mod http2;
mod stub;
mod whole;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{Egress, EgressOptions};
use crate::{
    domain::{
        account::{Account, ProviderSettings},
        http_exchange::{
            FaultKind, HttpMethod, Operation, Pace, Path, Reply, Request, Response, Safety,
        },
        ids::AccountName,
    },
    observe::Tracer,
};

const CREDENTIAL: &str = "credential-0123456789abcdef";

fn options(base_url: String) -> EgressOptions {
    EgressOptions {
        account: Arc::new(Account {
            name: AccountName::try_from("account").unwrap(),
            base_url,
            settings: ProviderSettings::Sequenzy { company_id: None },
        }),
        credential: SecretString::from(CREDENTIAL),
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(60),
        proxy_url: None,
        concurrency_max: 8,
        tracer: Tracer::off(),
    }
}

/// A client of a provider without TLS.
fn way(addr: SocketAddr) -> Egress {
    Egress::build(&options(format!("http://{addr}"))).unwrap()
}

/// A request with this safety.
fn request(safety: Safety) -> Request {
    Request {
        operation: Operation("test"),
        safety,
        pace: Pace::AtOnce,
        method: HttpMethod::Get,
        path: Path::fixed("x"),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
    }
}

async fn call(way: &Egress) -> Reply {
    way.call(request(Safety::Once)).await
}

#[track_caller]
fn answered(reply: Reply) -> Arc<Response> {
    match reply {
        Reply::Answered(response) => response,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn in_doubt(reply: &Reply, kind: FaultKind) -> &str {
    match reply {
        Reply::InDoubt(fault) if fault.kind == kind => &fault.message,
        other => panic!("{other:?}"),
    }
}
