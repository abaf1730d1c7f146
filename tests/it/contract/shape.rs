//! The module structure in ARCHITECTURE.md: which part may depend on which, and what is named
//! where.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Parts by rank: each may use those before it in the list, and itself.
const RANKS: [&[&str]; 13] = [
    &["limits"],
    &["domain"],
    &["clock"],
    &["identity", "observe", "shared_budget"],
    &["providers", "journal", "config"],
    &["egress", "audit"],
    &["engine"],
    &["rpc"],
    &["sandbox"],
    &["app"],
    &["cli"],
    // Below no part: only tests are in it, and it may see everything.
    &["simulation"],
    &["lib", "main"],
];

/// Where the sources of each package are.
const ROOTS: [&str; 3] = ["src", "crates/core/src", "crates/sandbox/src"];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = ROOTS.map(|of| root.join(of)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources are where they were");
    found.sort();
    found
}

/// The part a file belongs to.
fn part(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let below = |of: &&str| path.strip_prefix(root.join(of)).ok();
    let of = ROOTS.iter().find(|of| below(of).is_some()).unwrap();
    if of.contains("sandbox") {
        return "sandbox".to_owned();
    }
    let below = below(of).unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn rank(part: &str) -> usize {
    RANKS
        .iter()
        .position(|parts| parts.contains(&part))
        .unwrap_or_else(|| panic!("{part} has no rank: give it one here and in ARCHITECTURE.md"))
}

/// Parts that a text names as `crate::part`, in braces too; tests may look anywhere.
fn used(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut parts = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    c if depth == 0 && (c.is_alphanumeric() || c == '_') => word.push(c),
                    ':' | ',' if depth == 0 && !word.is_empty() => {
                        parts.push(std::mem::take(&mut word));
                    }
                    _ => {}
                }
            }
            parts.extend(Some(word).filter(|word| !word.is_empty()));
        } else {
            parts.push(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    parts.retain(|part| RANKS.iter().any(|rank| rank.contains(&part.as_str())));
    parts
}

#[test]
fn imports_point_down() {
    let mut arrows = 0;
    for (path, text) in sources() {
        if path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let from = part(&path);
        for to in used(&text) {
            let allowed = from == to || rank(&to) < rank(&from);
            assert!(allowed, "{}: {from} must not know {to}", path.display());
            arrows += 1;
        }
    }
    assert!(arrows > 100, "the imports were found: {arrows}");
}

/// What the compiler holds, as long as the manifests say so.
#[test]
fn packages_below_the_service_know_nothing_above_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (package, foreign) in [
        // It follows the providers' pages, and not what the gateway makes of them.
        ("sandbox", ["cancelot", "tonic", "sled", "cancelot-core"]),
        ("core", ["cancelot", "tokio", "reqwest", "fastrand"]),
    ] {
        let manifest = root.join("crates").join(package).join("Cargo.toml");
        let text = fs::read_to_string(manifest).unwrap();
        let (_, rest) = text.split_once("[dependencies]").unwrap();
        let (dependencies, _) = rest.split_once("[dev-dependencies]").unwrap();
        for name in foreign {
            let names = |line: &str| line.split(['.', ' ']).next() == Some(name);
            assert!(!dependencies.lines().any(names), "{package} needs {name}");
        }
    }
}

#[track_caller]
fn named_only_in(word: &str, allowed: &[&str]) {
    for (path, text) in sources() {
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        let shown = path.display().to_string().replace('\\', "/");
        let is_test = shown.contains("/tests/") || shown.ends_with("tests.rs");
        if code.contains(word) && !is_test {
            let known = allowed.iter().any(|allowed| shown.contains(allowed));
            assert!(known, "{shown} names {word}, which belongs to {allowed:?}");
        }
    }
}

#[test]
fn each_library_stays_where_it_belongs() {
    named_only_in("sled::", &["src/journal/store/sled_store.rs"]);
    named_only_in("reqwest::", &["src/egress/"]);
    named_only_in("tonic::", &["src/rpc/", "src/app/", "src/cli/"]);
    named_only_in("prost::", &["src/rpc/", "src/app/", "src/cli/"]);
    named_only_in("rustls::", &["src/app/server/tls/"]);
    named_only_in("jsonwebtoken::", &["src/identity/"]);
    named_only_in("x509_parser::", &["src/identity/"]);
    named_only_in(
        "aws_lc_rs::",
        &[
            "src/app/server/tls/",
            "src/audit/",
            "crates/core/src/domain/personal/digests.rs",
            "src/journal/directory/mod.rs",
        ],
    );
    named_only_in("std::env::var", &["src/config/"]);
    named_only_in("prometheus_client::", &["src/app/metrics/"]);
    named_only_in(
        "opentelemetry::",
        &["src/observe/", "src/app/observability/trace_export.rs"],
    );
    named_only_in(
        "opentelemetry_otlp::",
        &["src/app/observability/trace_export.rs"],
    );
    named_only_in(
        "Timestamp::now",
        &[
            "src/clock.rs",
            "src/journal/directory/mod.rs",
            "crates/sandbox/src/",
        ],
    );
}

#[test]
fn providers_and_domain_are_pure() {
    let impure = [
        "async ", ".await", "tokio::", "std::fs", "std::net", "fastrand", "Instant",
    ];
    for (path, text) in sources() {
        if !["providers", "domain"].contains(&part(&path).as_str()) {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let is_test = ["/tests/", "tests.rs", "properties.rs", "conformance"]
            .iter()
            .any(|name| path.display().to_string().contains(name));
        for line in lines.filter(|_| !is_test) {
            for word in impure {
                assert!(
                    !line.contains(word),
                    "{}: {word:?} in {line:?}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_configuration_page_has_every_setting_as_it_is() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let begin = "<!-- configuration: generated, checked by a test -->\n";
    let (_, rest) = page.split_once(begin).expect("the page has the reference");
    let (reference, _) = rest.split_once("<!-- end of configuration -->").unwrap();
    assert_eq!(
        reference.trim(),
        cancelot::config::reference_markdown().trim(),
        "run .ci/config-reference.sh with this build of cancelot"
    );
}
