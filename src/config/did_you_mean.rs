//! "Did you mean": the known word that a misspelled one was most likely meant to be.

use strsim::osa_distance;

/// Longer words than this are compared with nothing.
const WORD_CHARS_MAX: usize = 100;

/// The candidate that differs least from a word, if it differs little: by a third of its
/// letters, counting a swap of neighbours as one. Case, dashes and underscores do not count.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = normal(word);
    if word.is_empty() || word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (osa_distance(&word, &normal(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean …?`, or what else there is to choose from.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    match nearest(word, candidates.clone()) {
        Some(candidate) => format!("did you mean {candidate}?"),
        None => {
            let known: Vec<_> = candidates.into_iter().collect();
            format!("known are {}", known.join(", "))
        }
    }
}

fn normal(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .take(WORD_CHARS_MAX + 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = ["listen", "drain_ms", "insecure", "id"];

    #[track_caller]
    fn check(word: &str, meant: Option<&str>) {
        assert_eq!(nearest(word, WORDS), meant, "{word:?}");
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_another_word_finds_none() {
        check("listne", Some("listen"));
        check("lisen", Some("listen"));
        check("listeen", Some("listen"));
        check("lissen", Some("listen"));
        check("drainms", Some("drain_ms"));
        check("DRAIN-MS", Some("drain_ms"));
        check("insecur", Some("insecure"));
        check("port", None);
        check("", None);
        check(&"listen".repeat(1_000), None);
    }
}
