//! "Did you mean": the known word that a misspelled one was most likely meant to be.

/// Longer words than this are compared with nothing.
const WORD_CHARS_MAX: usize = 100;

/// The candidate that differs least from a word, if it differs little: by a third of its
/// letters, counting a swap of neighbours as one. Case, dashes and underscores do not count.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = normal(word);
    if word.is_empty() || word.len() > WORD_CHARS_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &normal(candidate)), candidate))
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

fn normal(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .take(WORD_CHARS_MAX + 1)
        .collect()
}

/// Insertions, deletions, replacements and swaps of neighbours from one to the other (optimal
/// string alignment, row by row).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX / 2);
    for (i, &ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &cb) in b.iter().enumerate() {
            let replaced = at(&above, j) + usize::from(ca != cb);
            let mut least = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let crossed = i > 0 && j > 0 && a.get(i - 1) == Some(&cb) && b.get(j - 1) == Some(&ca);
            if crossed {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(a.len())
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
        check("drainms", Some("drain_ms"));
        check("DRAIN-MS", Some("drain_ms"));
        check("insecur", Some("insecure"));
        check("port", None);
        check("", None);
        check(&"listen".repeat(1_000), None);
    }

    #[test]
    fn the_distance_counts_each_kind_of_slip_as_one() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("abcd", "acbd", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(&chars(a), &chars(b)), slips, "{a:?} {b:?}");
        }
    }
}
