//! `cancelot accounts`: what a running service can be asked for.

use clap::Args;
use comfy_table::{Table, presets::NOTHING};

use super::{
    Exit, client,
    terminal::{out, say},
};
use crate::rpc::proto::{CancellationKind, DryRun, ListAccountsRequest, Timing};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    service: client::Service,
}

pub(super) async fn run(arguments: Arguments) -> Exit {
    let mut client = match client::connect(&arguments.service) {
        Ok(client) => client,
        Err(problem) => {
            say(format!("cancelot: {problem}"));
            return Exit::Usage;
        }
    };
    let accounts = match client.list_accounts(ListAccountsRequest {}).await {
        Ok(response) => response.into_inner().accounts,
        Err(status) => {
            say(format!("cancelot: {}", client::told(&status)));
            return Exit::Unavailable;
        }
    };
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "account",
        "provider",
        "cancels",
        "when",
        "also",
        "notes sent",
        "dry run",
    ]);
    for account in accounts {
        let can = account.capabilities.clone().unwrap_or_default();
        let also = [(can.prorate, "prorate"), (can.line_items, "line_items")];
        let also: Vec<_> = also
            .iter()
            .filter(|(can, _)| *can)
            .map(|(_, what)| *what)
            .collect();
        let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
        table.add_row([
            account.name.clone(),
            word(account.provider().as_str_name(), "PROVIDER_"),
            match can.kind() {
                CancellationKind::Subscription => "subscriptions".to_owned(),
                CancellationKind::Enrollments => "enrollments".to_owned(),
                CancellationKind::Unspecified => String::new(),
            },
            can.timings()
                .map(|t: Timing| word(t.as_str_name(), "TIMING_"))
                .collect::<Vec<_>>()
                .join(", "),
            also.join(", "),
            can.notes.join(", "),
            match can.dry_run() {
                DryRun::Preview => "preview".to_owned(),
                DryRun::Lookup => "lookup".to_owned(),
                DryRun::Unspecified => String::new(),
            },
        ]);
    }
    out(table.to_string());
    Exit::Success
}
