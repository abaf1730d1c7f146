//! Numbers of lines as a line names them: `7,12-15`.

/// Sorted numbers, as texts of so many ranges at most.
pub(in crate::audit) fn written(
    sorted: impl IntoIterator<Item = u64>,
    ranges_max: usize,
) -> Vec<String> {
    let mut ranges = Vec::<(u64, u64)>::new();
    for number in sorted {
        match ranges.last_mut() {
            Some((_, last)) if last.saturating_add(1) == number => *last = number,
            Some(_) | None => ranges.push((number, number)),
        }
    }
    let one = |(first, last): &(u64, u64)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    let texts = ranges.chunks(ranges_max.max(1));
    texts
        .map(|ranges| ranges.iter().map(one).collect::<Vec<_>>().join(","))
        .collect()
}

/// Whether a text names a number.
pub(in crate::audit) fn has(text: &str, number: u64) -> bool {
    text.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u64>().ok().zip(last.parse::<u64>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_what_was_written_of_them() {
        assert_eq!(written([1, 2, 3, 7, 9, 10], 9), ["1-3,7,9-10"]);
        assert_eq!(written([1, 2, 3, 7, 9, 10], 2), ["1-3,7", "9-10"]);
        assert!(written([], 2).is_empty());
        let numbers = [1, 2, 3, 7, 9, 10];
        for number in 0..12 {
            assert_eq!(has("1-3,7,9-10", number), numbers.contains(&number));
        }
        for text in ["", "-", "x", "5-", "9-1"] {
            assert!(!has(text, 5), "{text}");
        }
    }
}
