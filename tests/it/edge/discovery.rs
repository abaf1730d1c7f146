//! What tools use first: reflection in both versions, and health.

use tokio_stream::once;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{BILLING_TOKEN, Gateway, gateway, identities::by, slow::Slow};

const SERVICE: &str = "cancelot.v1.CancellationService";

async fn channel(gateway: &Gateway) -> Channel {
    let endpoint = Endpoint::from_shared(gateway.url()).unwrap();
    endpoint.connect().await.unwrap()
}

/// Asks one version which services there are, and for the file of ours.
macro_rules! check {
    ($version:ident, $gateway:expr) => {{
        use $version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest as Ask,
            server_reflection_response::MessageResponse as Answer,
        };
        let mut client = ServerReflectionClient::new(channel($gateway).await);
        let ask = |question| {
            once(ServerReflectionRequest {
                host: String::new(),
                message_request: Some(question),
            })
        };

        let question = ask(Ask::ListServices(String::new()));
        let mut listed = client
            .server_reflection_info(question)
            .await
            .unwrap()
            .into_inner();
        let listed = listed.message().await.unwrap().unwrap().message_response;
        let question = ask(Ask::FileContainingSymbol(SERVICE.to_owned()));
        let mut file = client
            .server_reflection_info(question)
            .await
            .unwrap()
            .into_inner();
        let file = file.message().await.unwrap().unwrap().message_response;

        let Some(Answer::ListServicesResponse(listed)) = listed else {
            panic!("{listed:?}");
        };
        let names: Vec<_> = listed
            .service
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        assert!(names.contains(&SERVICE), "{names:?}");
        assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
        let Some(Answer::FileDescriptorResponse(file)) = file else {
            panic!("{file:?}");
        };
        let bytes = file.file_descriptor_proto.concat();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("CancelEnrollments") && text.contains("cancelot.v1"));
    }};
}

#[tokio::test]
async fn reflection_describes_the_service_in_both_versions() {
    let gateway = gateway().start().await;

    check!(v1, &gateway);
    check!(v1alpha, &gateway);
}

#[tokio::test]
async fn health_knows_the_server_and_the_service_and_nothing_else() {
    let gateway = gateway().start().await;
    let mut health = HealthClient::new(channel(&gateway).await);

    for service in ["", SERVICE] {
        let asked = HealthCheckRequest {
            service: service.to_owned(),
        };
        let checked = health.check(asked.clone()).await.unwrap().into_inner();
        let mut watched = health.watch(asked).await.unwrap().into_inner();
        let first = watched.message().await.unwrap().unwrap();
        assert_eq!(checked.status(), ServingStatus::Serving, "{service:?}");
        assert_eq!(first.status(), ServingStatus::Serving, "{service:?}");
    }

    let unknown = HealthCheckRequest {
        service: "nothing".to_owned(),
    };
    let status = health.check(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn who_is_no_caller_is_told_of_health_and_not_of_the_api() {
    let gateway = gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .start()
        .await;
    let channel = channel(&gateway).await;
    let question = || {
        use v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
        once(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        })
    };
    let mut reflection = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());

    let refused = reflection.server_reflection_info(question()).await;
    let told = reflection
        .server_reflection_info(by(BILLING_TOKEN, question()))
        .await;

    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    assert!(
        told.unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .is_some()
    );
    let asked = HealthCheckRequest {
        service: SERVICE.to_owned(),
    };
    let health = HealthClient::new(channel).check(asked).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_question_about_health_is_short_and_whole() {
    let gateway = gateway().start().await;
    const WATCH: &str = "/grpc.health.v1.Health/Watch";
    let mut long = Slow::open_at(&gateway, WATCH, &[]).await;
    long.body.send_data(vec![0; 2_000].into(), false).unwrap();
    assert_eq!(long.status().await.code(), Code::ResourceExhausted);

    let mut slow = Slow::open_at(&gateway, WATCH, &[]).await;
    slow.body.send_data(vec![0; 3].into(), false).unwrap();
    tokio::time::pause();
    assert_eq!(slow.status().await.code(), Code::DeadlineExceeded);
}
