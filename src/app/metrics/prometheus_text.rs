//! From OpenMetrics to the text that Prometheus had before it, which everything else reads: a
//! counter's family is called what its samples are, and there is no mark at the end.

/// The same page in the older form.
pub(super) fn of(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 4_096);
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // Its type, which says what it is called, comes next.
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_the_name_of_their_samples_and_the_end_goes() {
        let page = "# HELP a Some.\n# TYPE a counter\na_total{x=\"# y\"} 1\n# HELP b Other.\n\
                    # TYPE b gauge\n# UNIT b s\nb 2\n# EOF\n";
        assert_eq!(
            of(page),
            "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"# y\"} 1\n\
             # HELP b Other.\n# TYPE b gauge\nb 2\n"
        );
    }
}
