//! What is written comes back, what was changed is found, and what is stored stays readable.

use proptest::prelude::*;

use super::*;
use crate::{domain::ids::BatchId, limits};

fn join(parts: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Result<Vec<u8>, String> {
    let mut joiner = Joiner::default();
    for (part, value) in parts {
        if let Some(body) = joiner.add(part, &value)? {
            return Ok(body);
        }
    }
    Err("it is not whole".to_owned())
}

proptest! {
    #[test]
    fn a_body_of_any_length_comes_back_from_values_that_fit(
        length in prop_oneof![0_usize..100, 6_100_usize..6_200, 0_usize..40_000],
        seed in any::<u8>(),
    ) {
        let mut body: Vec<u8> = (0..=250).cycle().take(length).map(|n: u8| n ^ seed).collect();
        // Bodies are JSON, which never begins like a packed one.
        if let Some(first) = body.first_mut() {
            *first = b'{';
        }
        let parts: Vec<_> = split(&body).unwrap().collect();
        for (_, value) in &parts {
            prop_assert!(value.len() <= limits::STORE_VALUE_BYTES_MAX);
        }
        prop_assert_eq!(join(parts), Ok(body));
    }

    #[test]
    fn a_changed_bit_a_missing_part_and_parts_of_two_writes_are_found(
        length in 1_usize..20_000,
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let body: Vec<u8> = (0..=250).cycle().take(length).collect();
        let parts: Vec<_> = split(&body).unwrap().collect();
        let mut changed = parts.clone();
        let (_, value) = &mut changed[at.index(parts.len())];
        let byte = at.index(value.len());
        value[byte] ^= 1 << bit;
        prop_assert!(join(changed).is_err());
        if parts.len() > 1 {
            let mut missing = parts.clone();
            missing.remove(at.index(parts.len()));
            prop_assert!(join(missing).is_err());
            let other: Vec<u8> = body.iter().map(|byte| byte ^ 1).collect();
            let mut mixed = parts.clone();
            let place = at.index(parts.len());
            mixed[place] = split(&other).unwrap().nth(place).unwrap();
            prop_assert!(join(mixed).is_err());
        }
    }

    #[test]
    fn packed_hashes_are_found_and_others_are_not(
        mut hashes in proptest::collection::vec(any::<u64>(), 0..2_000),
        other in any::<u64>(),
    ) {
        hashes.sort_unstable();
        hashes.dedup();
        let values: Vec<_> = pack_hashes(&hashes).collect();
        let has = |hash| values.iter().any(|value| has_hash(value, hash).unwrap());
        for value in &values {
            prop_assert!(value.len() <= limits::STORE_VALUE_BYTES_MAX);
        }
        for hash in &hashes {
            prop_assert!(has(*hash));
        }
        prop_assert_eq!(has(other), hashes.contains(&other));
    }

    #[test]
    fn index_entries_read_back(batch in any::<u64>(), index in any::<u32>()) {
        let id = ItemId { batch: BatchId(batch), index };
        prop_assert_eq!(item_id_in(&item_id(id)), Ok(id));
        prop_assert_eq!(number_in(&number(batch)), Ok(batch));
    }
}

#[test]
fn another_format_is_refused_by_its_version_wherever_it_stands() {
    let value = vec![FORMAT + 1; 13];
    let errors = [
        number_in(&value).unwrap_err(),
        item_id_in(&value).unwrap_err(),
        has_hash(&value, 0).unwrap_err(),
        check_marker(&[FORMAT + 1]).unwrap_err(),
        join([(0, value)]).unwrap_err(),
    ];
    for error in errors {
        let version = format!("format version {}", FORMAT + 1);
        assert!(error.contains(&version), "{error}");
    }
}

/// Journals hold these bytes: what was written once has to be read for good.
#[test]
fn the_stored_words_stay_as_they_are() {
    check::<Header>(
        r#"{"c":"billing","k":"subscription","r":"r","a":"2027-01-15T08:00:00Z","#,
        r#""u":"2027-01-15T09:00:00Z","n":2,"o":1,"f":1,"p":"00ff"}"#,
    );
    check::<Vec<Option<RecordedItem>>>(
        r#"[{"o":{"c":{"subscription":{"account":"a","subscription_id":"s","when":"now"}}}},"#,
        r#"null,{"r":{"k":"k","i":{"batch":7,"index":3}}}]"#,
    );
    check::<Vec<Option<RecordedItem>>>(
        r#"[{"o":{"k":"own","c":{"enrollments":{"account":"a","sequence_id":"s","#,
        r#""target":{"subscribers":["x","y"]},"matches_max":5}}}}]"#,
    );
    check::<Step<u8>>(
        r#"{"s":{"t":"2027-01-15T08:00:00Z","#,
        r#""i":[[0,1],[3,1]]}}"#,
    );
    check::<Step<u8>>(
        r#"{"o":{"a":"2027-01-15T08:00:00Z","u":"2027-01-15T09:00:00Z","#,
        r#""i":[2]}}"#,
    );
    check::<Header>(
        r#"{"c":"billing","k":"subscription","r":"r","a":"2027-01-15T08:00:00Z","#,
        r#""u":"2027-01-15T09:00:00Z","n":2,"o":1,"f":1,"p":"00ff","l":{"n":3,"b":{"i":7,"m":9},"i":[[0,1]]}}"#,
    );
    check::<Step<u8>>(
        r#"{"s":{"t":"2027-01-15T08:00:00Z","k":"2027-01-16T08:00:30Z","#,
        r#""i":[[0,1],[3,1]]}}"#,
    );
    check::<Step<u8>>(
        r#"{"o":{"a":"2027-01-15T08:00:00Z","u":"2027-01-15T09:00:00Z","#,
        r#""i":[2],"l":{"n":3,"i":[]}}}"#,
    );
    check::<Step<u8>>(
        r#"{"c":{"a":{"t":"2027-01-15T08:00:00Z","b":{"i":7,"m":9}},"n":3,"#,
        r#""i":[[0,2047],[3000,3000]]}}"#,
    );
    check::<Step<u8>>(
        r#"{"d":{"i":[[2,{"e":{"t":"2027-01-15T08:00:00Z"},"l":{"t":"2027-01-15T08:00:09Z"},"#,
        r#""w":30000,"m":true,"a":true,"n":2,"p":7,"k":true}]]}}"#,
    );
    check::<Step<u8>>(
        r#"{"d":{"i":[[2,{"l":{"t":"2027-01-15T08:00:09Z"},"#,
        r#""m":false}]]}}"#,
    );
    check::<Step<u8>>(r#"{"w":{"n":3,"#, r#""i":[[0,1]]}}"#);
    check::<crate::domain::doubt::AccountState>(
        r#"{"a":1,"v":2,"u":{"t":"2027-01-15T08:00:00Z"},"#,
        r#""b":[2.5,{"t":"2027-01-15T08:00:00Z"}]}"#,
    );
    check::<crate::journal::DoubtfulTarget>(
        r#"{"a":"rebilly-eu","t":"sub-1","#,
        r#""u":{"t":"2027-01-15T08:00:00Z"}}"#,
    );
    check::<crate::journal::DoubtfulTarget>(
        r#"{"a":"rebilly-eu","t":"sub-1","#,
        r#""u":{"t":"2027-01-15T08:00:00Z"},"i":{"batch":1,"index":2}}"#,
    );
    check::<Step<u8>>(r#"{"x":"#, r#"{"a":"2027-01-15T08:00:00Z"}}"#);
    check::<Step<u8>>(r#"{"x":{"a":"2027-01-15T08:00:00Z","#, r#""b":"ann"}}"#);
    check::<crate::journal::Audited>(r#"{"t":7,"s":9,"#, r#""h":"00ff"}"#);
    check::<Meta>(r#"{"s":"name","#, r#""c":"2027-01-15T08:00:00Z"}"#);
    check::<crate::domain::outcome::Settled>(
        r#"{"conclusion":{"outcome":"canceled","detail":{"subscription":{}},"#,
        r#""answer":{"json":{ "n" : 1.10 }}},"attempts":1,"settled_at":"2027-01-15T08:00:00Z"}"#,
    );
    check::<crate::domain::outcome::Settled>(
        r#"{"conclusion":{"outcome":"canceled","detail":{"subscription":{}},"answer":{"text":"x"},"#,
        r#""answer_headers":{"retry-after":"4"}},"attempts":1,"settled_at":"2027-01-15T08:00:00Z"}"#,
    );
}

#[track_caller]
fn check<T: Serialize + DeserializeOwned>(begin: &str, end: &str) {
    let json = format!("{begin}{end}");
    let record: T = parse(json.as_bytes(), "a record").unwrap();
    assert_eq!(String::from_utf8(body(&record).unwrap()).unwrap(), json);
}
