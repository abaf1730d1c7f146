//! Authorities by name: a name in a certificate is its caller's only if the caller's own authority
//! vouches for it.

use cancelot::{app::Reloaded, rpc::proto::ListAccountsRequest};
use tonic::Code;

use crate::{
    observability::metrics::Scrape,
    support::{
        Client, Gateway, gateway,
        identities::{called_as, refused_as},
        pki::{Authority, Files, Pair},
    },
};

/// A gateway with two authorities, `ours` and `partner`, and a caller of each.
struct Bench {
    gateway: Gateway,
    server_ca: Authority,
    ours: Authority,
    partner: Authority,
    files: Files,
}

impl Bench {
    async fn start(more: &str) -> Self {
        Self::start_with(more, "authority = \"ours\"", None).await
    }

    async fn start_with(more: &str, of_billing: &str, revoked: Option<&str>) -> Self {
        let [server_ca, ours, partner] = ["server", "ours", "partner"].map(Authority::new);
        let files = Files::new();
        let server = files.server(&server_ca.server());
        let (our_ca, partner_ca) = (
            files.write("ours.pem", &ours.pem),
            files.write("partner.pem", &partner.pem),
        );
        let more = more.replace("{partner}", &partner_ca);
        let list = revoked.map_or_else(String::new, |list| {
            let list = files.write("crl.pem", list);
            format!("tls_client_crl_file = {list}\n")
        });
        let gateway = gateway()
            .config(&format!(
                "[server]\nadmin_listen = \"127.0.0.1:0\"\n{server}{list}{more}"
            ))
            .config(&format!("[authorities.ours]\nca_file = {our_ca}"))
            .config(&format!("[authorities.partner]\nca_file = {partner_ca}"))
            .config("[callers.billing]\ntls_sans = [\"dns:billing.internal\"]")
            .config(of_billing)
            .config("[callers.partner]\ntls_sans = [\"dns:cancel.partner.test\"]")
            .config("authority = \"partner\"")
            .start()
            .await;
        Self {
            gateway,
            server_ca,
            ours,
            partner,
            files,
        }
    }

    async fn connect(&self, own: &Pair) -> Client {
        let client = self.gateway.over_tls(&self.server_ca, Some(own)).await;
        client.unwrap()
    }
}

/// A call on a connection whose certificate nobody vouches for any more.
async fn is_cut_off(client: &Client) {
    let mut client = client.clone();
    let refused = client.list_accounts(ListAccountsRequest {}).await;
    let code = refused.unwrap_err().code();
    assert!(matches!(code, Code::Unavailable | Code::Unknown), "{code}");
}

const BILLING: &[&str] = &["dns:billing.internal"];
const PARTNER: &[&str] = &["dns:cancel.partner.test"];

#[tokio::test]
async fn an_authority_makes_its_own_callers_and_nobody_elses() {
    let mut bench = Bench::start("").await;
    let billing = bench.connect(&bench.ours.client(BILLING)).await;
    let partner = bench.connect(&bench.partner.client(PARTNER)).await;
    assert_eq!(called_as(&billing, None, "a").await.unwrap(), "billing");
    assert_eq!(called_as(&partner, None, "b").await.unwrap(), "partner");
    // The very names, of the other authority; also beside a name that is good.
    for (of, names) in [
        (&bench.partner, BILLING),
        (&bench.ours, PARTNER),
        (&bench.partner, &["dns:billing.internal", "dns:other"]),
    ] {
        let client = bench.connect(&of.client(names)).await;
        assert_eq!(refused_as(&client, None).await, "UNAUTHENTICATED");
    }
    let both = [BILLING, PARTNER].concat();
    let client = bench.connect(&bench.partner.client(&both)).await;
    assert_eq!(called_as(&client, None, "c").await.unwrap(), "partner");
    // Who nobody here knows makes no connection at all.
    let stranger = Authority::new("ours").client(BILLING);
    if let Ok(client) = bench
        .gateway
        .over_tls(&bench.server_ca, Some(&stranger))
        .await
    {
        is_cut_off(&client).await;
    }
    bench.gateway.stop().await;
    let refused = bench.gateway.events("refused");
    let unknown = refused
        .iter()
        .filter(|line| line["cause"] == "CERTIFICATE_UNKNOWN");
    assert_eq!(unknown.count(), 3, "{refused:?}");
}

#[tokio::test]
async fn a_caller_without_an_authority_is_vouched_for_by_the_bundle_and_by_no_named_one() {
    let mut bench = Bench::start_with("tls_client_ca_file = {partner}\n", "", None).await;
    // The bundle is the partner's authority here.
    let client = bench.connect(&bench.partner.client(BILLING)).await;
    assert_eq!(called_as(&client, None, "a").await.unwrap(), "billing");
    let client = bench.connect(&bench.partner.client(PARTNER)).await;
    assert_eq!(called_as(&client, None, "b").await.unwrap(), "partner");
    let client = bench.connect(&bench.ours.client(BILLING)).await;
    assert_eq!(refused_as(&client, None).await, "UNAUTHENTICATED");
    bench.gateway.stop().await;
}

#[tokio::test]
async fn an_open_connection_is_its_callers_as_long_as_the_callers_authority_vouches_for_it() {
    let bench = Bench::start("").await;
    let open = bench.connect(&bench.ours.client(BILLING)).await;
    let other = bench.connect(&bench.partner.client(PARTNER)).await;
    assert_eq!(called_as(&open, None, "a").await.unwrap(), "billing");

    // The partner vouches for it from now on, which makes it nobody's, and ours does no more.
    let (ours, partner) = (Authority::new("new"), bench.ours.pem.clone());
    bench.files.write("ours.pem", &ours.pem);
    let both = format!("{}{partner}", bench.partner.pem);
    bench.files.write("partner.pem", &both);
    assert_eq!(bench.gateway.reload().await.changed, 2);
    assert_eq!(refused_as(&open, None).await, "UNAUTHENTICATED");
    assert_eq!(called_as(&other, None, "b").await.unwrap(), "partner");
    bench.files.write("partner.pem", &bench.partner.pem);
    assert_eq!(bench.gateway.reload().await.changed, 1);
    is_cut_off(&open).await;
    assert_eq!(called_as(&other, None, "c").await.unwrap(), "partner");
    let new = bench.connect(&ours.client(BILLING)).await;
    assert_eq!(called_as(&new, None, "d").await.unwrap(), "billing");
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_is_given_up_alone_and_holds_up_no_other() {
    let mut bench = Bench::start("reload_grace_ms = 0\n").await;
    let billing = bench.connect(&bench.ours.client(BILLING)).await;
    let partner = bench.connect(&bench.partner.client(PARTNER)).await;
    bench.files.write("partner.pem", "no certificate");
    let failed = Reloaded {
        changed: 0,
        failed: 1,
    };
    assert_eq!(bench.gateway.reload().await, failed);
    is_cut_off(&partner).await;
    assert_eq!(called_as(&billing, None, "a").await.unwrap(), "billing");
    let scrape = Scrape::of(&bench.gateway).await;
    let failing =
        |name| format!("cancelot_reload_failing{{setting=\"authorities.{name}.ca_file\"}}");
    scrape.check(&failing("partner"), 1.0);
    scrape.check(&failing("ours"), 0.0);

    // The other one is emptied meanwhile, which takes it back at once.
    bench.files.write("ours.pem", "");
    assert_eq!(bench.gateway.reload().await.changed, 1);
    is_cut_off(&billing).await;
    bench.files.write("partner.pem", &bench.partner.pem);
    bench.gateway.reload().await;
    let partner = bench.connect(&bench.partner.client(PARTNER)).await;
    assert_eq!(called_as(&partner, None, "b").await.unwrap(), "partner");

    bench.gateway.stop().await;
    let given_up = bench.gateway.events("given_up");
    assert_eq!(given_up.len(), 1, "{given_up:?}");
    assert_eq!(given_up[0]["what"], "authorities.partner.ca_file");
}

#[tokio::test]
async fn without_its_revocation_list_nobody_is_believed_until_it_is_there_again() {
    let list = |numbers: &[u64]| Authority::new("of nobody here").revokes(numbers);
    let bench = Bench::start_with(
        "reload_grace_ms = 0\n",
        "authority = \"ours\"",
        Some(&list(&[7])),
    )
    .await;
    let pair = bench.ours.client(BILLING);
    let billing = bench.connect(&pair).await;
    assert_eq!(called_as(&billing, None, "a").await.unwrap(), "billing");
    bench.files.write("crl.pem", "no list");
    assert_eq!(bench.gateway.reload().await.failed, 1);
    is_cut_off(&billing).await;
    // An authority that is changed meanwhile is not believed either.
    let both = format!("{}{}", bench.ours.pem, Authority::new("more").pem);
    bench.files.write("ours.pem", &both);
    bench.gateway.reload().await;
    if let Ok(client) = bench.gateway.over_tls(&bench.server_ca, Some(&pair)).await {
        is_cut_off(&client).await;
    }
    bench.files.write("crl.pem", &list(&[7]));
    bench.gateway.reload().await;
    let again = bench.connect(&pair).await;
    assert_eq!(called_as(&again, None, "b").await.unwrap(), "billing");
}

#[tokio::test]
async fn a_revocation_list_is_of_all_authorities() {
    let [server_ca, ours] = ["server", "ours"].map(Authority::new);
    let files = Files::new();
    let server = files.server(&server_ca.server());
    let ca = files.write("ours.pem", &ours.pem);
    let list = files.write("crl.pem", &ours.revokes(&[7]));
    let gateway = gateway()
        .config(&format!("[server]\n{server}tls_client_crl_file = {list}"))
        .config(&format!("[authorities.ours]\nca_file = {ca}"))
        .config("[callers.billing]\ntls_sans = [\"dns:billing.internal\"]")
        .config("authority = \"ours\"")
        .start()
        .await;
    let [stolen, good] = [7, 8].map(|number| ours.client_numbered(BILLING, number));
    let good = gateway.over_tls(&server_ca, Some(&good)).await.unwrap();
    assert_eq!(called_as(&good, None, "a").await.unwrap(), "billing");
    if let Ok(client) = gateway.over_tls(&server_ca, Some(&stolen)).await {
        is_cut_off(&client).await;
    }
}
