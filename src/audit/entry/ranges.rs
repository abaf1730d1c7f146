//! Numbers of lines as a line names them: `7,12-15`.

use std::ops::RangeInclusive;

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

/// The ranges that a text names, first and last of each; what is no range names nothing.
pub(in crate::audit) fn read(text: &str) -> impl Iterator<Item = RangeInclusive<u64>> {
    text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(first..=last)
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
        let numbers: Vec<_> = read("1-3,7,9-10").flatten().collect();
        assert_eq!(numbers, [1, 2, 3, 7, 9, 10]);
        for text in ["", "-", "x", "5-", "9-1"] {
            assert_eq!(read(text).count(), 0, "{text}");
        }
    }
}
