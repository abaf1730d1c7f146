//! Probes over the life of the service: before recovery is complete, while it serves, and from the
//! drain on.

use cancelot::{
    app::{self, App, Listeners},
    engine::Clock,
    observe::Tracer,
    rpc::proto::ListAccountsRequest,
    sandbox::{Fault, Provider},
};
use tokio::net::TcpListener;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::support::{configured, connect, gateway, in_time, now, request, subscription};

const SERVICE: &str = "cancelot.v1.CancellationService";

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// What health says of the process and of the service.
async fn health(url: &str) -> [ServingStatus; 2] {
    let channel = Endpoint::from_shared(url.to_owned())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = HealthClient::new(channel);
    let whole = health.check(named("")).await.unwrap().into_inner().status();
    let service = health
        .check(named(SERVICE))
        .await
        .unwrap()
        .into_inner()
        .status();
    [whole, service]
}

/// The status and the word of a probe.
async fn probe(addr: std::net::SocketAddr, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(format!("http://{addr}{path}"))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn while_the_journal_is_read_the_process_is_alive_and_nobody_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let config = configured(&format!(
        "[journal]\ndir = {:?}\n",
        journal.display().to_string()
    ));
    let bind = || TcpListener::bind("127.0.0.1:0");
    let mut entrance = app::entrance(&config, Tracer::off(), &Clock::system()).unwrap();
    entrance.admin = Some(bind().await.unwrap());
    let front = Listeners::open(bind().await.unwrap(), entrance)
        .await
        .unwrap();
    let (url, admin) = (
        format!("http://{}", front.addr()),
        front.admin_addr().unwrap(),
    );
    let admin_url = format!("http://{admin}");
    let mut client = connect(&url).await;

    let alone = [ServingStatus::Serving, ServingStatus::NotServing];
    assert_eq!(health(&url).await, alone);
    assert_eq!(health(&admin_url).await, alone);
    assert_eq!(probe(admin, "/livez").await.0, 200);
    assert_eq!(
        probe(admin, "/readyz").await,
        (503, "starting\n".to_owned())
    );
    let page = probe(admin, "/metrics").await.1;
    assert!(page.contains("\ncancelot_ready 0\n") && !page.contains("cancelot_open_items"));
    let refused = client
        .list_accounts(ListAccountsRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(
        refused.get_error_details().error_info().unwrap().reason,
        "STARTING"
    );
    assert!(refused.get_error_details().retry_info().is_some());

    let changing = front.changing().clone();
    let (journal, setup) =
        app::engine_setup(&config, &app::journal(&config), &Tracer::off(), &changing).unwrap();
    let app = App::serve(front, journal, setup).await.unwrap();

    assert_eq!(health(&url).await, [ServingStatus::Serving; 2]);
    assert_eq!(health(&admin_url).await, [ServingStatus::Serving; 2]);
    assert_eq!(probe(admin, "/readyz").await, (200, "ready\n".to_owned()));
    client.list_accounts(ListAccountsRequest {}).await.unwrap();
    app.stop().await;
}

#[tokio::test]
async fn from_the_drain_on_it_is_not_ready_and_still_measured() {
    let mut gateway = gateway()
        .config("[server]\nadmin_listen = \"127.0.0.1:0\"\n")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let (url, admin) = (gateway.url(), gateway.admin_addr());
    let item = subscription(Provider::Rebilly, "sub_1", now());
    let _stream = gateway
        .client
        .cancel_subscription(request("k", [item]))
        .await
        .unwrap();
    let channel = Endpoint::from_shared(url.clone())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut watched = HealthClient::new(channel)
        .watch(named(SERVICE))
        .await
        .unwrap()
        .into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    in_time(gateway.control.held_reached(Provider::Rebilly, 1)).await;

    let app = gateway.take_app();
    let stopping = tokio::spawn(app.stop());
    let told = in_time(watched.message()).await.unwrap().unwrap();
    assert_eq!(told.status(), ServingStatus::NotServing);
    let admin_url = format!("http://{admin}");
    assert_eq!(health(&admin_url).await[1], ServingStatus::NotServing);
    assert_eq!(probe(admin, "/livez").await.0, 200);
    assert_eq!(
        probe(admin, "/readyz").await,
        (503, "draining\n".to_owned())
    );
    let page = probe(admin, "/metrics").await.1;
    assert!(page.contains("\ncancelot_ready 0\n") && page.contains("\ncancelot_open_items 1\n"));

    gateway.control.release(Provider::Rebilly);
    in_time(stopping).await.unwrap();
}
