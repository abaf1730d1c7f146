//! Accounts: what each provider brings along, and which variable means which account.

use std::time::Duration;

use super::{accepted, refused};
use crate::{
    config::{
        AccountLimits,
        schema::{
            setting::Described as _,
            settings::{RATE_BURST, RATE_PER_SECOND},
        },
    },
    domain::account::{FunnelFoxEnd, ProviderId, ProviderSettings, RebillyAuth, Revolv3Auth},
};

/// A configuration with one account of these lines and a credential.
#[track_caller]
fn account(lines: &str) -> (ProviderSettings, String, AccountLimits) {
    let text = format!("[accounts.a]\ncredential_env = \"SECRET\"\n{lines}");
    let mut config = accepted(&text, &[("SECRET", "s")]);
    let account = config.accounts.remove(0);
    (
        account.account.settings,
        account.account.base_url,
        account.limits,
    )
}

#[test]
fn every_provider_needs_no_more_than_its_name_and_a_credential() {
    let (settings, url, limits) = account("provider = \"rebilly\"");
    let auth = RebillyAuth::ApiKey;
    assert_eq!(
        settings,
        ProviderSettings::Rebilly {
            organization: None,
            auth
        }
    );
    assert_eq!(url, "https://api.rebilly.com");
    assert_eq!(limits.timeout, Duration::from_secs(30));
    assert_eq!(limits.settling, Duration::from_secs(30));
    assert_eq!(limits.connect_timeout, Duration::from_secs(5));

    let (settings, url, _) = account("provider = \"solidgate\"");
    let lookup_path = "v2/subscriptions/get".to_owned();
    assert_eq!(
        settings,
        ProviderSettings::Solidgate {
            channel_id: None,
            lookup_path
        }
    );
    assert_eq!(url, "https://api.solidgate.com");

    let (settings, url, limits) = account("provider = \"funnelfox\"");
    let cancel_ends = FunnelFoxEnd::PeriodEnd;
    assert_eq!(settings, ProviderSettings::FunnelFox { cancel_ends });
    assert_eq!(url, "https://api.funnelfox.io/public/v1");
    assert_eq!(limits.timeout, Duration::from_secs(120));
    assert_eq!(limits.settling, Duration::from_secs(30));

    let (settings, url, _) = account("provider = \"revolv3\"");
    let auth = Revolv3Auth::Token;
    assert_eq!(
        settings,
        ProviderSettings::Revolv3 {
            auth,
            set_timing: false
        }
    );
    assert_eq!(url, "https://api.revolv3.com");

    let (settings, url, _) = account("provider = \"sequenzy\"");
    assert_eq!(settings, ProviderSettings::Sequenzy { company_id: None });
    assert_eq!(url, "https://api.sequenzy.com/api/v1");
}

/// What can go out in any stretch of time is the burst and what the rate adds to it.
#[test]
fn default_rates_keep_within_what_the_providers_document() {
    let most = |lines: &str, seconds: f64| {
        let (_, _, limits) = account(lines);
        f64::from(limits.rate_burst) + limits.rate_per_second * seconds
    };
    assert!(most("provider = \"sequenzy\"", 60.0) <= 100.0);
    assert!(most("provider = \"revolv3\"", 1.0) <= 20.0);
    assert!(most("provider = \"revolv3\"", 15.0 * 60.0) <= 20_000.0);
    let rebilly = "provider = \"rebilly\"\nenvironment = \"sandbox\"";
    assert!(most(rebilly, 10.0 * 60.0) <= 3_000.0);
}

#[test]
fn the_reference_tells_the_rates_that_are_used() {
    for provider in ProviderId::ALL {
        let name = provider.name();
        let (_, _, limits) = account(&format!("provider = \"{name}\""));
        let rate = format!("{name} `{:?}`", limits.rate_per_second);
        assert!(RATE_PER_SECOND.default().contains(&rate), "{rate}");
        let burst = format!("{name} `{}`", limits.rate_burst);
        assert!(RATE_BURST.default().contains(&burst), "{burst}");
    }
    let (_, _, limits) = account("provider = \"rebilly\"\nenvironment = \"sandbox\"");
    let sandbox = format!("(sandbox `{:?}`)", limits.rate_per_second);
    assert!(RATE_PER_SECOND.default().contains(&sandbox), "{sandbox}");
}

#[test]
fn an_account_of_no_provider_still_has_its_other_mistakes_told() {
    refused(
        "[accounts.a]\nprovider = \"stripe\"\ncredential_env = \"S\"\nrate_burst = 0\n\
         lookup_path = \"/v2\"",
        &[("S", "s")],
        &[
            "cancelot.toml:2: accounts.a.provider is not one of the choices; known are rebilly, \
             solidgate, funnelfox, revolv3, sequenzy",
            "cancelot.toml:4: accounts.a.rate_burst = 0 is out of bounds; give a whole number \
             from 1 to 100000",
            "cancelot.toml:5: accounts.a.lookup_path has a path with an empty segment, \".\" or \
             \"..\"; give one such as v2/subscriptions/get",
        ],
    );
}

#[test]
fn settings_that_one_provider_has_reach_its_account() {
    let (settings, url, _) = account(
        "provider = \"rebilly\"\nenvironment = \"sandbox\"\norganization = \"org-1\"\n\
         auth = \"bearer\"",
    );
    let organization = Some("org-1".to_owned());
    let auth = RebillyAuth::Bearer;
    assert_eq!(settings, ProviderSettings::Rebilly { organization, auth });
    assert_eq!(url, "https://api-sandbox.rebilly.com");
    let (settings, url, _) = account(
        "provider = \"revolv3\"\nauth = \"bearer\"\nset_timing = true\n\
         environment = \"sandbox\"\nbase_url = \"http://127.0.0.1:9/revolv3/\"",
    );
    let auth = Revolv3Auth::Bearer;
    assert_eq!(
        settings,
        ProviderSettings::Revolv3 {
            auth,
            set_timing: true
        }
    );
    assert_eq!(url, "http://127.0.0.1:9/revolv3");
    let (settings, _, _) = account("provider = \"funnelfox\"\ncancel_ends = \"now\"");
    assert_eq!(
        settings,
        ProviderSettings::FunnelFox {
            cancel_ends: FunnelFoxEnd::Now
        }
    );
}

#[test]
fn a_setting_of_another_provider_is_refused_with_where_it_belongs() {
    refused(
        "[accounts.a]\nprovider = \"sequenzy\"\ncredential_env = \"S\"\nauth = \"bearer\"\n\
         channel_id = \"c\"\nenvironment = \"sandbox\"",
        &[("S", "s")],
        &[
            "cancelot.toml:4: accounts.a.auth does not exist at sequenzy; it belongs to accounts \
             at rebilly and revolv3",
            "cancelot.toml:5: accounts.a.channel_id does not exist at sequenzy; it belongs to \
             accounts at solidgate",
            "cancelot.toml:6: accounts.a.environment cannot be sandbox: sequenzy has no host for \
             it; leave the setting away, and use a key of the provider's test mode if it has one",
        ],
    );
    refused(
        "[accounts.a]\nprovider = \"rebilly\"\ncredential_env = \"S\"\nauth = \"token\"",
        &[("S", "s")],
        &[
            "cancelot.toml:4: accounts.a.auth is a word of another provider; give api_key or \
             bearer",
        ],
    );
}

#[test]
fn an_account_can_be_defined_by_variables_alone() {
    let config = accepted(
        "",
        &[
            ("CANCELOT_ACCOUNTS_REBILLY_EU_PROVIDER", "rebilly"),
            ("CANCELOT_ACCOUNTS_REBILLY_EU_CREDENTIAL", "s"),
            ("CANCELOT_ACCOUNTS_REBILLY_EU_BASE_URL", "https://h.example"),
            ("CANCELOT_ACCOUNTS_REBILLY_EU_CONNECT_TIMEOUT_MS", "1_000"),
            ("CANCELOT_ACCOUNTS_REBILLY_EU_RATE_PER_SECOND", "0.5"),
        ],
    );
    let account = &config.accounts[0];
    assert_eq!(account.account.name.as_str(), "rebilly-eu");
    assert_eq!(account.account.provider(), ProviderId::Rebilly);
    assert_eq!(account.account.base_url, "https://h.example");
    assert_eq!(account.limits.connect_timeout, Duration::from_secs(1));
    assert_eq!(account.limits.rate_per_second, 0.5);
}

#[test]
fn a_variable_that_two_accounts_could_mean_goes_to_the_one_there_is() {
    let text =
        |name: &str| format!("[accounts.{name}]\nprovider = \"rebilly\"\ncredential_env = \"S\"\n");
    let variables = [
        ("S", "s"),
        ("CANCELOT_ACCOUNTS_EU_CONNECT_TIMEOUT_MS", "900"),
    ];
    let config = accepted(&text("eu"), &variables);
    assert_eq!(
        config.accounts[0].limits.connect_timeout,
        Duration::from_millis(900)
    );
    let config = accepted(&text("eu-connect"), &variables);
    assert_eq!(
        config.accounts[0].limits.timeout,
        Duration::from_millis(900)
    );
    refused(
        &(text("eu") + &text("eu-connect")),
        &variables,
        &[
            "environment CANCELOT_ACCOUNTS_EU_CONNECT_TIMEOUT_MS: can be read in two ways, as two \
             names fit; set it in the file or rename one of them",
        ],
    );
}

#[test]
fn a_misspelled_account_or_setting_in_a_variable_is_pointed_out() {
    let text = "[accounts.rebilly-eu]\nprovider = \"rebilly\"\ncredential_env = \"S\"";
    refused(
        text,
        &[
            ("S", "s"),
            ("CANCELOT_ACCOUNTS_REBILY_EU_CREDENTIAL", "s"),
            ("CANCELOT_ACCOUNTS_REBILLY_EU_BASE_ULR", "https://h"),
            ("CANCELOT_ACCOUNTS_REBILLY_EU_COLOUR", "blue"),
        ],
        &[
            "environment CANCELOT_ACCOUNTS_REBILLY_EU_BASE_ULR: is no setting; did you mean \
             CANCELOT_ACCOUNTS_REBILLY_EU_BASE_URL?",
            "environment CANCELOT_ACCOUNTS_REBILLY_EU_COLOUR: is no setting; unset it, or see \
             the settings' names in docs/configuration.md; variables that begin with \
             CANCELOT_ are this program's",
            "environment CANCELOT_ACCOUNTS_REBILY_EU_CREDENTIAL: accounts.rebily-eu.provider is \
             missing; set it to one of rebilly, solidgate, funnelfox, revolv3, sequenzy, or did \
             the variable mean the account rebilly-eu?",
        ],
    );
}

#[test]
fn a_credential_never_travels_in_the_clear_unless_that_is_meant() {
    let text = "[accounts.a]\nprovider = \"rebilly\"\ncredential_env = \"S\"\n";
    refused(
        &format!("{text}base_url = \"http://proxy.example\""),
        &[("S", "s")],
        &[
            "cancelot.toml:4: accounts.a.base_url would send the credential in the clear; begin \
             it with https://, or set allow_http = true if the way there is safe",
        ],
    );
    accepted(
        &format!("{text}base_url = \"http://proxy.example\"\nallow_http = true"),
        &[("S", "s")],
    );
    refused(
        &format!("{text}base_url = \"https://api.rebilly.com/organizations/o\""),
        &[("S", "s")],
        &[
            "cancelot.toml:4: accounts.a.base_url names an organization; end it before \
             /organizations, and name the organization in `organization`",
        ],
    );
}

#[test]
fn connecting_takes_no_longer_than_the_request() {
    let (_, _, limits) = account("provider = \"rebilly\"\ntimeout_ms = 2_000");
    assert_eq!(limits.connect_timeout, limits.timeout);
    refused(
        "[accounts.a]\nprovider = \"rebilly\"\ncredential_env = \"S\"\ntimeout_ms = 10\n\
         connect_timeout_ms = 11",
        &[("S", "s")],
        &[
            "cancelot.toml:5: accounts.a.connect_timeout_ms = 11 is more than timeout_ms = 10; \
             give less: connecting is part of the request",
        ],
    );
}

#[test]
fn a_lost_answer_settles_within_a_second_to_an_hour() {
    let lines = |ms: &str| format!("provider = \"rebilly\"\nsettling_ms = {ms}");
    for ms in [1_000, 3_600_000] {
        let (_, _, limits) = account(&lines(&ms.to_string()));
        assert_eq!(limits.settling, Duration::from_millis(ms));
    }
    let variables = [("S", "s"), ("CANCELOT_ACCOUNTS_A_SETTLING_MS", "45_000")];
    let config = accepted(
        "[accounts.a]\nprovider = \"rebilly\"\ncredential_env = \"S\"",
        &variables,
    );
    let settling: Vec<_> = config.accounts.iter().map(|a| a.limits.settling).collect();
    assert_eq!(settling, [Duration::from_secs(45)]);
    for ms in ["999", "3_600_001"] {
        let text = format!("[accounts.a]\ncredential_env = \"S\"\n{}", lines(ms));
        let problem = format!(
            "cancelot.toml:4: accounts.a.settling_ms = {} is out of bounds; give a whole number \
             from 1000 to 3600000",
            ms.replace('_', "")
        );
        refused(&text, &[("S", "s")], &[&problem]);
    }
}
