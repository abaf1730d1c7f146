//! Whatever somebody writes, the answer is a configuration or a list of mistakes.

use proptest::prelude::*;

use super::read;
use crate::config::{print, schema::settings::ALL};

fn toml_like() -> impl Strategy<Value = String> {
    let sections = [
        "server",
        "journal",
        "engine",
        "log",
        "accounts.a",
        "accounts.b-2",
        "callers.c",
        "accounts",
        "accounts.A",
        "x",
    ];
    let words: Vec<&'static str> = ALL
        .iter()
        .map(|s| s.key().rsplit('.').next().unwrap())
        .collect();
    let values = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        any::<bool>().prop_map(|b| b.to_string()),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        prop::sample::select(vec![
            "\"rebilly\"",
            "\"sandbox\"",
            "\"https://h\"",
            "[1]",
            "{}",
            "1979-05-27"
        ])
        .prop_map(str::to_owned),
    ];
    let line = (prop::sample::select(words), values)
        .prop_map(|(word, value)| format!("{word} = {value}\n"));
    let table = (
        prop::sample::select(sections.to_vec()),
        prop::collection::vec(line, 0..6),
    )
        .prop_map(|(section, lines)| format!("[{section}]\n{}", lines.concat()));
    prop::collection::vec(table, 0..5).prop_map(|tables| tables.concat())
}

proptest! {
    #[test]
    fn any_text_as_file_gives_a_configuration_or_mistakes(text in "(?s).{0,200}") {
        let _ = read(&text, &[]).map_err(|mistakes| mistakes.to_string());
    }

    #[test]
    fn any_settings_give_a_configuration_or_mistakes(text in toml_like()) {
        match read(&text, &[]) {
            Ok(config) => prop_assert!(!print(&config).is_empty()),
            Err(mistakes) => prop_assert!(!mistakes.all().is_empty()),
        }
    }

    #[test]
    fn any_variables_of_ours_give_a_configuration_or_mistakes(
        variables in prop::collection::vec(("CANCELOT_[A-Z_]{0,30}", "\\PC{0,20}"), 0..4),
    ) {
        let variables: Vec<_> = variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let _ = read("", &variables).map_err(|mistakes| mistakes.to_string());
    }
}
