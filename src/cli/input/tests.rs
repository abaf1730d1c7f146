//! Inputs as people write them give rows or mistakes, and never a panic.

mod exports;

use std::io;

use proptest::prelude::*;

use super::{Defaults, EnrollmentsRow, Format, Mistakes, Row, Rows, SubscriptionRow};
use crate::domain::{
    command::{Direction, EnrollmentsTarget, Initiator, Reason, When},
    ids::TargetId,
};

fn read<R: Row>(text: &str, defaults: &[(&str, &str)]) -> Result<Vec<R>, Mistakes> {
    let defaults = defaults.iter().copied().collect();
    let input = io::Cursor::new(text.as_bytes().to_vec());
    Rows::open(input, None, &defaults)?.read_all(100)
}

#[track_caller]
fn accepted<R: Row>(text: &str, defaults: &[(&str, &str)]) -> Vec<R> {
    read(text, defaults).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[track_caller]
fn refused<R: Row + std::fmt::Debug>(text: &str, defaults: &[(&str, &str)], expected: &[&str]) {
    let mistakes = read::<R>(text, defaults).expect_err("was accepted");
    let shown = mistakes.to_string();
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
}

fn id(text: &str) -> TargetId {
    TargetId::try_from(text).unwrap()
}

#[test]
fn every_column_of_a_subscription_is_read_from_csv() {
    let rows: Vec<SubscriptionRow> = accepted(
        "account,subscription_id,idempotency_key,when,reason,comment,initiated_by,prorate,\
         channel_id,line_items\n\
         rebilly-eu,sub 1,k-1,2027-01-31T01:00:00+01:00,TOO_EXPENSIVE,\"said \"\"no\"\",\ntwice\",\
         customer,TRUE,c-1,\"[{\"\"type\"\":\"\"credit\"\",\"\"unit_price_amount\"\":49.950,\
         \"\"unit_price_currency\"\":\"\"EUR\"\",\"\"quantity\"\":2,\"\"description\"\":\"\"x\"\"}]\"\n\
         rebilly-eu,sub_2,,period_end,,,,,,\n",
        &[],
    );
    assert_eq!(rows.len(), 2);
    let row = &rows[0];
    assert_eq!((row.line, row.account.as_str()), (2, "rebilly-eu"));
    assert_eq!(row.subscription_id, id("sub 1"));
    assert_eq!(row.idempotency_key.as_ref().unwrap().as_str(), "k-1");
    assert_eq!(row.when, When::At("2027-01-31T00:00:00Z".parse().unwrap()));
    assert_eq!(row.reason, Some(Reason::TooExpensive));
    assert_eq!(row.comment.as_deref(), Some("said \"no\",\ntwice"));
    assert_eq!(row.initiated_by, Some(Initiator::Customer));
    assert_eq!(
        (row.prorate, &row.channel_id),
        (Some(true), &Some(id("c-1")))
    );
    assert_eq!(row.line_items[0].direction, Direction::Credit);
    assert_eq!(row.line_items[0].unit_price.as_str(), "49.95");
    assert_eq!(row.line_items[0].quantity, 2);
    // The comment above takes two lines.
    assert_eq!((rows[1].line, rows[1].when), (4, When::PeriodEnd));
    assert!(rows[1].idempotency_key.is_none() && rows[1].line_items.is_empty());
}

#[test]
fn json_lines_mean_the_same_as_csv() {
    let json: Vec<SubscriptionRow> = accepted(
        "{\"account\":\"a\",\"subscription_id\":2232,\"when\":\"now\",\"prorate\":false,\
         \"comment\":null,\"line_items\":[{\"type\":\"debit\",\"unit_price_amount\":\"1\",\
         \"unit_price_currency\":\"EUR\",\"quantity\":1}]}\n\n\
         {\"account\":\"a\",\"subscription_id\":\"x\",\"when\":\"provider_default\"}",
        &[],
    );
    let csv: Vec<SubscriptionRow> = accepted(
        "account;when;subscription_id;prorate;line_items\n\
         a;now;2232;false;\"[{\"\"type\"\":\"\"debit\"\",\"\"unit_price_amount\"\":\"\"1\"\",\
         \"\"unit_price_currency\"\":\"\"EUR\"\",\"\"quantity\"\":1}]\"\n\n\
         a;provider_default;x;;\n",
        &[],
    );
    let without_line = |row: &SubscriptionRow| SubscriptionRow {
        line: 0,
        ..row.clone()
    };
    let plain = |rows: &[SubscriptionRow]| rows.iter().map(without_line).collect::<Vec<_>>();
    assert_eq!(plain(&json), plain(&csv));
    assert_eq!(json[1].line, 3);
    assert_eq!(csv[1].line, 4);
}

#[test]
fn a_flag_fills_cells_that_are_empty_and_no_others() {
    let rows: Vec<SubscriptionRow> = accepted(
        "subscription_id,when\n1,now\n2,\n",
        &[
            ("account", "a"),
            ("when", "period_end"),
            ("reason", "other"),
        ],
    );
    assert_eq!((rows[0].when, rows[1].when), (When::Now, When::PeriodEnd));
    assert!(rows.iter().all(|row| row.account.as_str() == "a"));
    assert!(rows.iter().all(|row| row.reason == Some(Reason::Other)));
}

#[test]
fn a_byte_order_mark_and_tabs_are_read_as_spreadsheets_write_them() {
    let rows: Vec<SubscriptionRow> = accepted(
        "\u{feff}account\tsubscription_id\twhen\r\na\t1,2\tNow\r\n",
        &[],
    );
    assert_eq!(rows[0].subscription_id, id("1,2"));
    refused::<SubscriptionRow>("\n\n", &[], &["is empty; write at least one row"]);
    let utf16 = io::Cursor::new(b"\xff\xfea\0".to_vec());
    let mistakes = Rows::<SubscriptionRow>::open(utf16, None, &Defaults::default()).unwrap_err();
    assert_eq!(mistakes.to_string(), "line 1: is UTF-16; save it as UTF-8");
}

#[test]
fn the_line_of_a_row_is_told_whatever_stands_before_it() {
    let records = [
        "account,subscription_id,when,comment",
        "",
        "a,1,now,",
        "",
        "",
        "a,2,now,\"x",
        "",
        "y\"",
        "a,3,now,",
        "   ",
        "a,4",
    ];
    for line_break in ["\n", "\r\n"] {
        let text = records.join(line_break);
        let input = io::Cursor::new(text.into_bytes());
        let rows = Rows::<SubscriptionRow>::open(input, None, &Defaults::default()).unwrap();
        let lines: Vec<_> = rows
            .map(|row| row.map_or_else(|mistakes| mistakes.shown[0].line, |row| row.line))
            .collect();
        assert_eq!(lines, [3, 6, 9, 11], "{line_break:?}");
    }
}

#[test]
fn all_that_is_wrong_with_a_header_is_said_at_once() {
    refused::<SubscriptionRow>(
        "acount,subscrptionId,when,when,colour,\n1,2,3,4,5,6",
        &[],
        &[
            "line 1: acount: is no column; did you mean account?",
            "line 1: subscrptionId: is no column; did you mean subscription_id?",
            "line 1: when: stands twice in the header",
            "line 1: colour: is no column",
            "line 1: known are account, subscription_id, idempotency_key, when, reason, comment, \
             initiated_by, prorate, channel_id, line_items; leave others out with \
             --ignore-columns NAME, or say what they are with --columns COLUMN=NAME",
        ],
    );
    refused::<SubscriptionRow>(
        "account\na",
        &[("when", "now")],
        &[
            "line 1: subscription_id: is missing; add the column, or give it as a flag for all \
             rows",
        ],
    );
    refused::<SubscriptionRow>(
        "account\na",
        &[("whn", "now")],
        &["whn: is no column; did you mean when?"],
    );
}

#[test]
fn all_that_is_wrong_with_the_rows_is_said_at_once_with_line_and_column() {
    refused::<SubscriptionRow>(
        "account,subscription_id,when,reason,prorate,line_items\n\
         A,1,tomorrow,too-dear,perhaps,\n\
         a,2\n\
         a,3,now,,,\"{}\"\n\
         a,4,now,,,\"[{\"\"type\"\":\"\"debt\"\",\"\"unit_price_amount\"\":\"\"1,5\"\",\
         \"\"quantity\"\":0},{\"\"quantty\"\":1},7]\"\n\
         a,5,,other,,\n\
         a,..,now,,,nonsense\n",
        &[],
        &[
            "line 2: account: \"A\" is no account name; 1-63 lower-case letters, digits and \
             dashes, beginning with a letter",
            "line 2: when: \"tomorrow\" is no time; write now, period_end, provider_default, a \
             day such as 2027-01-31 (from its beginning in UTC), or a time with its offset such as \
             2027-01-31T00:00:00Z",
            "line 2: reason: \"too-dear\" is not known; known are did-not-use, did-not-want, \
             missing-features, bugs-or-problems, do-not-remember, risk-warning, \
             contract-expired, too-expensive, other, billing-failure",
            "line 2: prorate: \"perhaps\" is neither true nor false",
            "line 3: has 2 cells and the header 6; quote cells that contain the separator, and \
             close every quote",
            "line 4: line_items: is an object; write an array such as [{\"type\":\"credit\",\
             \"unit_price_amount\":\"5.00\",\"unit_price_currency\":\"EUR\",\"quantity\":1}]",
            "line 5: line_items[0].type: \"debt\" is not known; did you mean debit?",
            "line 5: line_items[0].unit_price_amount: \"1,5\" is no price; a plain decimal number \
             such as 49.95, not negative, at most 12 digits before the point and 6 after it",
            "line 5: line_items[0].unit_price_currency: is missing",
            "line 5: line_items[0].quantity: \"0\" is no quantity; write a whole number from 1 to \
             1000000",
            "line 5: line_items[1].quantty: is no member; did you mean quantity?",
            "line 5: line_items[2]: is a number; write an object",
            "line 6: when: is missing",
            "line 7: subscription_id: \"..\" cannot be an id: URLs give it a meaning",
            "line 7: line_items: is no JSON: expected ident at line 1 column 2",
        ],
    );
}

#[test]
fn json_that_is_none_or_says_a_thing_twice_is_refused_with_its_line() {
    refused::<SubscriptionRow>(
        "{\"account\":\"a\",\"subscription_id\":\"1\",\"when\":\"now\"}\n\
         {\"account\":\"a\"\n\
         7\n\
         {\"account\":\"a\",\"account\":\"b\",\"Subscripton-ID\":\"1\",\"when\":\"now\"}\n\
         {\"account\":[\"a\"],\"subscription_id\":1.5,\"when\":true}\n",
        &[],
        &[
            "line 2: is no JSON object at character 14; write one such as {\"account\":\"…\"}",
            "line 3: is no JSON object at character 1; write one such as {\"account\":\"…\"}",
            "line 4: account: stands twice in the object",
            "line 4: Subscripton-ID: is no column; did you mean subscription_id?",
            "line 5: account: is an array; write text",
            "line 5: subscription_id: is a number; write text",
            "line 5: when: is true or false; write text",
        ],
    );
    refused::<SubscriptionRow>(
        "[{\"account\":\"a\"}]",
        &[],
        &["line 1: begins an array; write one JSON object on each line (jq -c '.[]' does that)"],
    );
}

#[test]
fn a_target_or_key_that_comes_twice_is_refused_with_both_lines() {
    refused::<SubscriptionRow>(
        "account,subscription_id,idempotency_key\na,1,k\nb,1,j\na,1,i\nb,2,k\n",
        &[("when", "now")],
        &[
            "line 4: subscription_id: is the same as on line 2; leave one of them away",
            "line 5: idempotency_key: is the same as on line 2; leave one of them away",
        ],
    );
}

#[test]
fn every_target_of_enrollments_is_read() {
    let rows: Vec<EnrollmentsRow> = accepted(
        "sequence_id,subscriber_id,subscriber_ids,field_path,field_values,all,dry_run,max_matches\n\
         s,u1,,,,,,\n\
         s,,u1; u2;,,,,false,5\n\
         s,,,order.id,o1;o2,,true,\n\
         s,,,,o1,false,,\n\
         s,,,,,true,,\n",
        &[("account", "a"), ("reason", "cutover")],
    );
    let targets: Vec<_> = rows.iter().map(|row| row.target.clone()).collect();
    assert_eq!(
        targets,
        [
            EnrollmentsTarget::Subscriber(id("u1")),
            EnrollmentsTarget::Subscribers(vec![id("u1"), id("u2")]),
            EnrollmentsTarget::Field {
                path: Some(id("order.id")),
                values: vec![id("o1"), id("o2")],
            },
            EnrollmentsTarget::Field {
                path: None,
                values: vec![id("o1")]
            },
            EnrollmentsTarget::All,
        ]
    );
    let dry_runs: Vec<_> = rows.iter().map(|row| row.dry_run).collect();
    assert_eq!(dry_runs, [None, Some(false), Some(true), None, None]);
    assert_eq!(rows[1].max_matches, Some(5));
    assert!(
        rows.iter()
            .all(|row| row.reason.as_deref() == Some("cutover"))
    );
}

#[test]
fn a_target_in_the_row_takes_the_place_of_the_one_in_the_flags() {
    let rows: Vec<EnrollmentsRow> = accepted(
        "{\"sequence_id\":\"s\",\"subscriber_ids\":[\"u\",7]}\n{\"sequence_id\":\"t\"}",
        &[("account", "a"), ("all", "true")],
    );
    assert_eq!(
        rows[0].target,
        EnrollmentsTarget::Subscribers(vec![id("u"), id("7")])
    );
    assert_eq!(rows[1].target, EnrollmentsTarget::All);
}

#[test]
fn enrollments_without_exactly_one_target_are_refused() {
    refused::<EnrollmentsRow>(
        "sequence_id,subscriber_id,subscriber_ids,field_path,all,max_matches\n\
         1,,,,,\n2,u,,,true,\n3,,,p,,\n4,,u;u,,,\n5,u,,,,0\n6,,\" ; \",,,\n",
        &[("account", "a")],
        &[
            "line 2: subscriber_id: is missing, and so are subscriber_ids, field_values and all; \
             write one of them",
            "line 3: subscriber_id: is one of several targets; write just one of subscriber_id, \
             subscriber_ids, field_values and all",
            "line 4: field_path: names a field; write what to look for in field_values",
            "line 5: subscriber_ids: has \"u\" twice",
            "line 6: max_matches: \"0\" is no count; write a whole number from 1 to 4294967295",
            "line 7: subscriber_ids: has 0 values; write 1 to 500",
        ],
    );
}

#[test]
fn mistakes_beyond_the_bound_are_counted_and_rows_go_on_after_one() {
    let text = format!(
        "account,subscription_id,when\n{}a,1,now\n",
        "A,,x\n".repeat(10)
    );
    let open = || {
        let input = io::Cursor::new(text.clone().into_bytes());
        Rows::<SubscriptionRow>::open(input, Some(Format::Csv), &Defaults::default()).unwrap()
    };
    let mistakes = open().read_all(4).unwrap_err();
    assert_eq!((mistakes.shown.len(), mistakes.more), (4, 26));
    assert!(mistakes.to_string().ends_with("\nand 26 more"));
    assert_eq!(open().filter(Result::is_ok).count(), 1);
}

#[test]
fn rows_come_before_the_input_ends() {
    /// A header, then rows without end.
    struct Endless(u64);

    impl io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let line = match self.0 {
                0 => "account,when,subscription_id\n".to_owned(),
                n => format!("a,now,{n}\n"),
            };
            self.0 += 1;
            buffer[..line.len()].copy_from_slice(line.as_bytes());
            Ok(line.len())
        }
    }

    let rows = Rows::<SubscriptionRow>::open(Endless(0), None, &Defaults::default()).unwrap();
    let ids: Vec<_> = rows
        .take(3)
        .map(|row| row.unwrap().subscription_id)
        .collect();
    assert_eq!(ids, [id("1"), id("2"), id("3")]);
}

#[test]
fn an_input_that_fails_ends_with_its_error() {
    struct Broken;

    impl io::Read for Broken {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk on fire"))
        }
    }

    use io::Read as _;
    for start in ["account,subscription_id,when\n", "{}\n"] {
        let input = io::Cursor::new(start.as_bytes().to_vec()).chain(Broken);
        let rows = Rows::<SubscriptionRow>::open(input, None, &Defaults::default()).unwrap();
        let results: Vec<_> = rows.collect();
        let last = results.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(last.contains("disk on fire"), "{last}");
        assert!(results.len() <= 2);
    }
}

#[test]
fn a_file_name_tells_its_format() {
    for (name, format) in [
        ("a.csv", Some(Format::Csv)),
        ("a.b.JSONL", Some(Format::JsonLines)),
        ("a.ndjson", Some(Format::JsonLines)),
        ("a.txt", None),
        ("csv", None),
    ] {
        assert_eq!(Format::of_path(name.as_ref()), format, "{name}");
    }
}

/// Every reason of the domain has a word.
#[test]
fn every_reason_is_read_by_its_own_word() {
    for reason in [
        Reason::DidNotUse,
        Reason::DidNotWant,
        Reason::MissingFeatures,
        Reason::BugsOrProblems,
        Reason::DoNotRemember,
        Reason::RiskWarning,
        Reason::ContractExpired,
        Reason::TooExpensive,
        Reason::Other,
        Reason::BillingFailure,
    ] {
        let text = format!(
            "account,subscription_id,when,reason\na,1,now,{}",
            reason.slug()
        );
        let rows: Vec<SubscriptionRow> = accepted(&text, &[]);
        assert_eq!(rows[0].reason, Some(reason));
    }
}

fn check_any(bytes: &[u8]) {
    for format in [None, Some(Format::Csv), Some(Format::JsonLines)] {
        let input = || io::Cursor::new(bytes.to_vec());
        let defaults = Defaults::default();
        if let Ok(rows) = Rows::<SubscriptionRow>::open(input(), format, &defaults) {
            let _ = rows.read_all(3).map_err(|mistakes| mistakes.to_string());
        }
        if let Ok(rows) = Rows::<EnrollmentsRow>::open(input(), format, &defaults) {
            let _ = rows.read_all(3).map_err(|mistakes| mistakes.to_string());
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_give_rows_or_mistakes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_any(&bytes);
    }

    #[test]
    fn any_cells_under_a_header_give_rows_or_mistakes(
        cells in prop::collection::vec("[a-z0-9;,\"\\[\\]{}:\n -]{0,20}", 0..30),
    ) {
        let mut text = format!("{}\n", SubscriptionRow::COLUMNS.join(","));
        for row in cells.chunks(10) {
            text.push_str(&row.join(","));
            text.push('\n');
        }
        check_any(text.as_bytes());
    }

    #[test]
    fn any_json_objects_give_rows_or_mistakes(
        members in prop::collection::vec(
            (prop::sample::select(EnrollmentsRow::COLUMNS.to_vec()), "[0-9]{1,30}|\"[a-z.]{0,5}\"|\\[\\]|\\{\\}|true|null|1e9"),
            0..12,
        ),
    ) {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
        check_any(format!("{{{}}}\n", members.join(",")).as_bytes());
    }
}
