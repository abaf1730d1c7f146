//! `cancelot accounts`: the accounts of a running service and their capabilities.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Exit,
    client::{self, status},
    terminal::{self, out, say},
};
use crate::rpc::proto::{Account, CancellationKind, DryRun, ListAccountsRequest, Timing};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    service: client::Service,
    /// How to show them.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Jsonl,
}

pub(super) async fn run(arguments: Arguments) -> Exit {
    let mut client = match client::connect(&arguments.service).await {
        Ok(client) => client,
        Err(problem) => return problem.tell(),
    };
    let accounts = match client.list_accounts(ListAccountsRequest {}).await {
        Ok(response) => response.into_inner().accounts,
        Err(status) => {
            say(format!("cancelot: {}", status::told(&status)));
            return status::exit(&status);
        }
    };
    match arguments.output {
        Output::Table => show(&accounts),
        Output::Jsonl => {
            for account in &accounts {
                out(terminal::json(&json(account)));
            }
        }
    }
    if accounts.is_empty() {
        say("the service has no account that you may use");
    }
    Exit::Success
}

/// The account with the proto's field names.
fn json(account: &Account) -> Value {
    let can = account.capabilities.clone().unwrap_or_default();
    json!({
        "name": account.name,
        "provider": account.provider().as_str_name(),
        "capabilities": {
            "kind": can.kind().as_str_name(),
            "timings": can.timings().map(|timing| timing.as_str_name()).collect::<Vec<_>>(),
            "prorate": can.prorate,
            "line_items": can.line_items,
            "notes": can.notes,
            "dry_run": can.dry_run().as_str_name(),
        },
    })
}

fn show(accounts: &[Account]) {
    if accounts.is_empty() {
        return;
    }
    let mut table = terminal::table();
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
    out(table.trim_fmt());
}
