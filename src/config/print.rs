//! The configuration in effect as TOML, and the reference of all settings as Markdown.

use std::fmt::Write as _;

use super::{
    Config, is_reloaded,
    schema::{
        setting::{Described, variable},
        settings::{self, ALL},
    },
    source::reader::SettingEntry,
};

/// The configuration in effect as a file that means the same, with the origin of everything that
/// is not a default. Secrets are not in it, only where they are kept.
#[must_use]
pub fn print(config: &Config) -> String {
    let mut text =
        String::from("# The configuration in effect. Values without a comment are defaults.\n");
    let mut current = "";
    for entry in &config.entries {
        let (section, word) = entry.key.rsplit_once('.').unwrap_or(("", &entry.key));
        if section != current {
            let _ = write!(text, "\n[{section}]\n");
            current = section;
        }
        let _ = writeln!(text, "{}", line(word, entry));
    }
    text
}

fn line(word: &str, entry: &SettingEntry) -> String {
    match (&entry.toml, &entry.source) {
        (None, _) => format!("# {word} is not set"),
        (Some(toml), None) => format!("{word} = {toml}"),
        (Some(toml), Some(source)) => format!("{word} = {toml} # {source}"),
    }
}

const RELOADED: &str = "A change in the file is taken without a restart.";
const RESTARTED: &str = "A change takes a restart.";

/// The reference of all settings: a Markdown table per section.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::new();
    let mut current = "";
    for setting in ALL {
        if setting.section() != current {
            current = setting.section();
            let _ = write!(
                text,
                "{}### `[{current}]`\n\n{}\n\n| Setting | Type | Default | Variable | Meaning |\n\
                 |---|---|---|---|---|\n",
                if text.is_empty() { "" } else { "\n" },
                if is_reloaded(setting.key()) {
                    RELOADED
                } else {
                    RESTARTED
                },
            );
        }
        let _ = writeln!(text, "{}", row(*setting));
    }
    text
}

fn row(setting: &dyn Described) -> String {
    let secret = [settings::CREDENTIAL.key, settings::TOKEN.key].contains(&setting.key());
    let name = if secret {
        "(variable only)".to_owned()
    } else {
        format!("`{}`", setting.word())
    };
    let owners: Vec<_> = setting.owners().iter().map(|id| id.name()).collect();
    let owners = match owners.as_slice() {
        [] => String::new(),
        owners => format!(" ({})", owners.join(", ")),
    };
    format!(
        "| {name}{owners} | {} | {} | `{}` | {} |",
        setting.shape(),
        setting.default(),
        variable(setting.key()),
        setting.doc()
    )
}
