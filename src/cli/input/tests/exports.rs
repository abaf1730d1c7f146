//! CSV as spreadsheets and billing pages export it, and its typical damage.

use super::*;
use crate::cli::input::Naming;

const HEADER: &str = "account,subscription_id,when,comment\n";

#[track_caller]
fn ids(text: &str) -> Vec<(u64, String)> {
    let rows: Vec<SubscriptionRow> = accepted(text, &[("account", "a"), ("when", "now")]);
    let id = |row: &SubscriptionRow| (row.line, row.subscription_id.to_string());
    rows.iter().map(id).collect()
}

#[track_caller]
fn refused_on(text: &str, line: u64, saying: &str) {
    let mistakes = read::<SubscriptionRow>(text, &[("account", "a"), ("when", "now")])
        .expect_err("was accepted");
    let found = mistakes
        .shown
        .iter()
        .any(|mistake| mistake.line == line && mistake.to_string().contains(saying));
    assert!(
        found,
        "no {saying:?} on line {line} of {text:?}: {mistakes}"
    );
}

#[test]
fn a_quote_that_is_not_closed_swallows_no_rows() {
    // At the end, in the middle before another quote, and in the id itself.
    for rows in [
        "a,1,now,\"lost\na,2,now,\na,3,now,\n",
        "a,1,now,\"lost\na,2,now,x\na,3,now,\"other\"\na,4,now,\n",
        "a,1,now,\"lost\r\na,2,now,x\r\na,3,now,\"other\"\r\n",
        "a,1,now,\"lost\ra,2,now,x\ra,3,now,\"other\"\r",
        "a,\"1,now,x\na,2,now,\na,3\",now,\n",
        "a,1,now,\"lost\na,2,now,x\na,3,now,six\"\na,4,now,x\n",
        "a, 1, now, \"lost\na, 2, now, x\na, 3, now, six\"\n",
        "a,1,now,\"lost\na,2,now,x,,\na,3,now,six\",,\n",
        "a,1,now,\"",
        "a,1,now,\"lost\"\"\n",
    ] {
        refused_on(&format!("{HEADER}{rows}"), 2, "quote");
    }
    // The line of the quote, not that of the record.
    let second = format!("{HEADER}a,1,now,\"two\nlines\"\na,2,now,\"open\n");
    refused_on(&second, 4, "opens a quote that is never closed");
    refused_on("\"account,subscription_id\n1,2\n", 1, "never closed");
}

#[test]
fn text_behind_a_closing_quote_is_refused_and_what_follows_is_looked_at_too() {
    for cell in [
        "\"sub\"_1",
        "\"sub\"\"_1\"x",
        "\"\"x",
        "\"sub\" x",
        "su\"b\"",
        "x\"",
    ] {
        let text = format!("subscription_id,comment\n1,\n{cell},\n2,\"x\"y\n");
        refused_on(&text, 3, "quote");
        refused_on(&text, 4, "text behind a closing quote");
    }
}

#[test]
fn quotes_as_they_should_be_are_read() {
    let text = "subscription_id,comment\n\"1\" ,\"he said \"\"no, thanks\"\"\"\n \"2\",\"Well, yes\n\
                and, no\"\n\"3\",\"\"\n";
    let rows: Vec<SubscriptionRow> = accepted(text, &[("account", "a"), ("when", "now")]);
    let read: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.line,
                row.subscription_id.as_str(),
                row.comment.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        read,
        [
            (2, "1", Some("he said \"no, thanks\"")),
            (3, "2", Some("Well, yes\nand, no")),
            (5, "3", None)
        ]
    );
    // In tab-separated text a quote within a cell is an ordinary character.
    let tabs = "subscription_id\tcomment\n1\ta 5\" pipe\n";
    let rows: Vec<SubscriptionRow> = accepted(tabs, &[("account", "a"), ("when", "now")]);
    assert_eq!(rows[0].comment.as_deref(), Some("a 5\" pipe"));
}

#[test]
fn headers_are_known_however_they_are_written() {
    for header in [
        "Account,Subscription ID,When",
        "ACCOUNT,SUBSCRIPTION_ID,WHEN",
        "account,subscriptionId,when",
        " Account , Subscription-Id , When ",
        "\"Account\",\"Subscription ID\",\"When\"",
        "\u{feff}Account,Subscription\u{a0}ID,When\u{200b}",
    ] {
        let rows: Vec<SubscriptionRow> = accepted(&format!("{header}\na,1,now\n"), &[]);
        assert_eq!(rows[0].subscription_id, id("1"), "{header}");
    }
    let json = "{\"Account\":\"a\",\"subscriptionId\":\"1\",\"When\":\"now\"}\n";
    let rows: Vec<SubscriptionRow> = accepted(json, &[]);
    assert_eq!(rows[0].subscription_id, id("1"));
    refused::<SubscriptionRow>(
        "Account,account,subscription_id,when\na,a,1,now",
        &[],
        &["line 1: account: stands twice in the header"],
    );
}

#[test]
fn empty_rows_and_columns_that_spreadsheets_add_are_passed_over() {
    assert_eq!(
        ids("subscription_id,,\n1,,\n,,\n2\u{20},,\n,,\n"),
        one_and_two([2, 4])
    );
    assert_eq!(ids("subscription_id\n1,,\n2\n,\n"), one_and_two([2, 3]));
    assert_eq!(
        ids("subscription_id;comment\n1;\n;\n\"\";\"\"\n2;;;\n"),
        one_and_two([2, 5])
    );
    refused_on(
        "subscription_id,,\n1,,x\n",
        2,
        "column 3: has something in it and no name",
    );
    refused_on(
        "subscription_id,comment\n1,x,y\n",
        2,
        "has 3 cells and the header 2",
    );
    refused_on(
        ",subscription_id\n0,1\n",
        2,
        "column 1: has something in it and no name",
    );
}

fn one_and_two(lines: [u64; 2]) -> Vec<(u64, String)> {
    let [one, two] = lines;
    vec![(one, "1".to_owned()), (two, "2".to_owned())]
}

#[test]
fn what_separates_is_said_by_sep_or_by_the_header() {
    for text in [
        "sep=;\nsubscription_id;comment\n1;a,b\n2;\n",
        "SEP=;\r\nsubscription_id;comment\r\n1;a,b\r\n2;\r\n",
        "\u{feff}sep=;\rsubscription_id;comment\r1;a,b\r2;\r",
        "\"sep=;\"\nsubscription_id;comment\n1;a,b\n2;\n",
        "sep=\t\nsubscription_id\tcomment\n1\ta,b\n2\t\n",
        "sep=|\nsubscription_id|comment\n1|a,b\n2|\n",
    ] {
        assert_eq!(ids(text), one_and_two([3, 4]), "{text:?}");
    }
    assert_eq!(
        ids("subscription_id|comment\n1|a,b\n2|\n"),
        one_and_two([2, 3])
    );
    assert_eq!(ids("subscription_id\n1\n2\n"), one_and_two([2, 3]));
    refused_on(
        "sep=~\nsubscription_id~comment\n1~x\n",
        1,
        "something else than a comma",
    );
    refused_on("sep=;\n", 0, "has no header");
}

#[test]
fn lines_count_whatever_ends_them() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["subscription_id,comment", "1,", "", "2,"].join(end);
        assert_eq!(ids(&text), one_and_two([2, 4]), "{end:?}");
    }
}

fn named(text: &str, ignored: &[&str], renamed: &[&str]) -> Result<Vec<SubscriptionRow>, String> {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let naming = Naming::new(&owned(ignored), &owned(renamed), SubscriptionRow::COLUMNS)?;
    let input = io::Cursor::new(text.as_bytes().to_vec());
    let defaults = [("account", "a"), ("when", "now")].into_iter().collect();
    Rows::open_named(input, None, &defaults, &naming)
        .and_then(|rows| rows.read_all(100))
        .map_err(|mistakes| mistakes.to_string())
}

#[test]
fn other_columns_are_left_out_or_renamed_only_as_somebody_says() {
    let csv = "Ref,Plan,Customer E-Mail\n1,gold,x@example.com\n";
    let json = "{\"Ref\":\"1\",\"Plan\":\"gold\",\"Customer E-Mail\":\"x\"}";
    for text in [csv, json] {
        for renamed in [
            "subscription_id=Ref",
            "Ref=subscription_id",
            "Subscription ID = ref",
        ] {
            let rows = named(text, &["plan", "customer_email"], &[renamed]).unwrap();
            assert_eq!(rows[0].subscription_id, id("1"), "{renamed}");
        }
        let told = named(text, &["Plan"], &["subscription_id=Ref"]).unwrap_err();
        assert!(told.contains("Customer E-Mail: is no column"), "{told}");
    }
    let told = named(csv, &[], &[]).unwrap_err();
    assert!(told.contains("--ignore-columns NAME"), "{told}");
    let told = named(csv, &["Plann", "customer_email"], &["subscription_id=Ref"]).unwrap_err();
    assert!(told.contains("Plann: is not in the header"), "{told}");
    // An ignored column may be one of ours.
    let rows = named("subscription_id,Comment\n1,secret\n", &["comment"], &[]).unwrap();
    assert_eq!(rows[0].comment, None);
    for (renamed, saying) in [
        (&["subscription_id"][..], "write COLUMN=NAME"),
        (&["=Ref"], "write COLUMN=NAME"),
        (&["subscripton_id=Ref"], "did you mean subscription_id?"),
        (
            &["comment=Ref", "comment=Plan"],
            "says twice what comment is called",
        ),
        (&["comment=Ref", "reason=ref"], "says twice what \"ref\" is"),
    ] {
        let told = named(csv, &[], renamed).unwrap_err();
        assert!(told.contains(saying), "{told}");
    }
}

#[test]
fn ids_that_a_spreadsheet_spoiled_are_refused_with_their_line() {
    for spoiled in [
        "#N/A",
        "#REF!",
        "9.91E+15",
        "1,23E+08",
        "2232.0",
        "'2232",
        "NULL",
        "sub\u{200b}1",
        "\u{202e}1",
        "\u{feff}1",
    ] {
        for column in ["subscription_id", "idempotency_key", "channel_id"] {
            let rest = if column == "subscription_id" {
                "comment"
            } else {
                "subscription_id"
            };
            let text = format!("{column};{rest}\n1;2\n{spoiled};3\n");
            refused_on(&text, 3, &format!("{column}: "));
        }
        let json = format!("{{\"subscription_id\":{}}}\n", serde_json::json!(spoiled));
        refused_on(&json, 1, "subscription_id: ");
        for column in [
            "sequence_id",
            "subscriber_id",
            "subscriber_ids",
            "field_values",
        ] {
            let target = if column == "sequence_id" {
                "subscriber_id"
            } else {
                "sequence_id"
            };
            let text = format!("{column}|{target}\n{spoiled}|x\n");
            let told = read::<EnrollmentsRow>(&text, &[("account", "a")]).unwrap_err();
            let told = told.to_string();
            assert!(
                told.starts_with(&format!("line 2: {column}: ")),
                "{spoiled}: {told}"
            );
        }
    }
    refused_on(
        "subscription_id,comment\n1,#REF!\n",
        2,
        "a spreadsheet's error",
    );
    refused_on("subscription_id,comment\n=\"2232\",\n", 2, "quote");
    refused_on(
        "subscription_id,comment\n\"=\"\"2232\"\"\",\n",
        2,
        "is a formula",
    );
}

#[test]
fn a_day_is_a_time() {
    let rows: Vec<SubscriptionRow> =
        accepted("account,subscription_id,when\na,1,2027-01-31\n", &[]);
    assert_eq!(
        rows[0].when,
        When::At("2027-01-31T00:00:00Z".parse().unwrap())
    );
}

#[test]
fn a_row_that_is_written_reads_back_as_it_was() {
    fn again<R: Row + Clone>(rows: &[R]) -> Vec<R> {
        let lines = rows.iter().map(|row| {
            let key = row.own_key().map(ToString::to_string);
            serde_json::Value::Object(row.cells(key)).to_string()
        });
        accepted(&lines.collect::<Vec<_>>().join("\n"), &[])
    }
    let subscriptions: Vec<SubscriptionRow> = accepted(
        "{\"account\":\"a\",\"subscription_id\":\"1\",\"when\":\"2027-01-31\",\"reason\":\"other\",\
         \"comment\":\"a \\\"b\\\",\\nc\",\"initiated_by\":\"customer\",\"prorate\":false,\
         \"channel_id\":\"c\",\"idempotency_key\":\"k/1\",\"line_items\":[{\"type\":\"debit\",\
         \"unit_price_amount\":\"1.5\",\"unit_price_currency\":\"EUR\",\"quantity\":2,\
         \"description\":\"d\",\"period_start_time\":\"2027-01-01\",\
         \"period_end_time\":\"2027-01-02T00:00:00Z\"}]}\n\
         {\"account\":\"a\",\"subscription_id\":\"2\",\"when\":\"period_end\"}",
        &[],
    );
    assert_eq!(again(&subscriptions), subscriptions);
    let enrollments: Vec<EnrollmentsRow> = accepted(
        "{\"account\":\"a\",\"sequence_id\":\"s\",\"subscriber_id\":\"u\",\"reason\":\"r\"}\n\
         {\"account\":\"a\",\"sequence_id\":\"s\",\"subscriber_ids\":[\"u;v\",\"w\"],\"dry_run\":true}\n\
         {\"account\":\"a\",\"sequence_id\":\"s\",\"field_path\":\"p\",\"field_values\":[\"x\"]}\n\
         {\"account\":\"a\",\"sequence_id\":\"s\",\"all\":true,\"max_matches\":5}",
        &[],
    );
    assert_eq!(again(&enrollments), enrollments);
}
