use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, RecordBatch};
use proptest::prelude::*;

use super::super::tests::Copy;
use super::*;
use crate::error::Result;
use crate::model::evidence::SCORES;
use crate::source::layout::Layout;

/// The columns of one score row that are not part of the key of its group.
#[derive(Debug, Clone)]
struct Score {
    id: i64,
    score_type: String,
    time: i64,
    score: Option<f64>,
    lead: Option<i32>,
    level: Option<String>,
}

fn score(id: i64) -> Score {
    Score { id, score_type: "era5_acc_t_24h".into(), time: 5, score: Some(0.5), lead: Some(24), level: Some("t".into()) }
}

fn layout() -> Layout {
    Layout::from(&SCORES)
}

/// Wraps as the server's numbers would overflow; the tests have ids and leads for which neither happens.
fn with_lead(row: &Score) -> i64 {
    (i64::from(row.lead.unwrap_or(MISSING_INT)) << 32).wrapping_add(row.id)
}

/// What the server sends for a group, in the words of `plan::groups`.
fn group(copy: Copy, miner: i32, hotkey: &str, rows: &[Score]) -> Copy {
    let bytes = |values: Vec<Vec<u8>>| values.concat();
    let texts = |values: Vec<&str>| values.join("\u{1}").into_bytes();
    let count = |present: usize| (present as i64).to_be_bytes().to_vec();
    let fields: Vec<Vec<u8>> = vec![
        bytes(rows.iter().map(|row| with_lead(row).to_be_bytes().to_vec()).collect()),
        900i32.to_be_bytes().to_vec(),
        7i32.to_be_bytes().to_vec(),
        miner.to_be_bytes().to_vec(),
        hotkey.as_bytes().to_vec(),
        texts(rows.iter().map(|row| row.score_type.as_str()).collect()),
        bytes(rows.iter().map(|row| row.time.to_be_bytes().to_vec()).collect()),
        bytes(rows.iter().map(|row| row.score.unwrap_or(f64::MIN).to_bits().to_be_bytes().to_vec()).collect()),
        texts(rows.iter().map(|row| row.level.as_deref().unwrap_or("\u{2}")).collect()),
        count(rows.iter().flat_map(|row| [row.score.is_none(), row.lead.is_none(), row.level.is_none()]).filter(|&x| x).count()),
    ];
    copy.row(&fields.iter().map(|field| Some(field.as_slice())).collect::<Vec<_>>())
}

/// The same rows, a tuple each.
fn single(copy: Copy, miner: i32, hotkey: &str, rows: &[Score]) -> Copy {
    rows.iter().fold(copy, |copy, row| {
        copy.row(&[
            Some(&row.id.to_be_bytes()),
            Some(&900i32.to_be_bytes()),
            Some(&7i32.to_be_bytes()),
            Some(&miner.to_be_bytes()),
            Some(hotkey.as_bytes()),
            Some(row.score_type.as_bytes()),
            Some(&row.time.to_be_bytes()),
            row.score.map(|score| score.to_bits().to_be_bytes()).as_ref().map(<[u8; 8]>::as_slice),
            row.lead.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice),
            row.level.as_ref().map(String::as_bytes),
        ])
    })
}

fn decode(mut decoder: Decoder, pieces: &[&[u8]]) -> Result<Option<RecordBatch>> {
    pieces.iter().try_for_each(|piece| decoder.push(piece))?;
    if decoder.is_ambiguous() { Ok(None) } else { decoder.finish().map(Some) }
}

fn of_groups(pieces: &[&[u8]]) -> Result<Option<RecordBatch>> {
    decode(Decoder::of_groups(&layout(), "scores of run 7"), pieces)
}

/// Every cell, texts instead of codes, doubles as bits.
fn cells(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    let cell = |column: &dyn Array, row: usize| match column.is_null(row) {
        true => None,
        false => Some(match column.as_any_dictionary_opt() {
            Some(coded) => {
                coded.values().as_string::<i32>().value(coded.keys().as_primitive::<Int32Type>().value(row) as usize).to_owned()
            }
            None => match column.as_primitive_opt::<arrow_array::types::Float64Type>() {
                Some(doubles) => doubles.value(row).to_bits().to_string(),
                None => format!("{:?}", column.slice(row, 1).to_data().buffers()[0].as_slice()),
            },
        }),
    };
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

fn odd(id: i64) -> Score {
    Score { score: None, lead: None, level: None, score_type: String::new(), ..score(id) }
}

#[test]
fn a_group_is_its_rows() {
    let (one, two) = (vec![score(1), odd(2), Score { level: Some(String::new()), ..score(3) }], vec![score(4)]);
    let grouped = group(group(Copy::new(), 5, "hk5", &one), 6, "hk6", &two).end();
    let rows = single(single(Copy::new(), 5, "hk5", &one), 6, "hk6", &two).end();
    let expected = decode(Decoder::new(&layout(), "t"), &[&rows]).unwrap().unwrap();
    for cut in 0..=grouped.len() {
        let found = of_groups(&[&grouped[..cut], &grouped[cut..]]).unwrap().unwrap();
        assert_eq!(cells(&found), cells(&expected), "cut at {cut}");
        assert_eq!(found.schema(), expected.schema());
    }
}

#[test]
fn what_could_be_a_value_or_none_is_left_to_single_rows() {
    let least = Score { score: Some(f64::MIN), ..score(1) };
    let lowest = Score { lead: Some(MISSING_INT), ..score(1) };
    let marker = Score { level: Some("\u{2}".into()), ..score(1) };
    for (what, row) in [("the least double", &least), ("the marker of integers", &lowest), ("the marker of texts", &marker)] {
        let alone = group(Copy::new(), 5, "hk", &[row.clone(), score(2)]).end();
        assert!(of_groups(&[&alone]).unwrap().is_some(), "{what} with no NULL beside it is a value");
        let mixed = group(Copy::new(), 5, "hk", &[row.clone(), odd(2)]).end();
        assert!(of_groups(&[&mixed]).unwrap().is_none(), "{what} beside a NULL");
    }
    let separator = Score { score_type: "a\u{1}b".into(), ..score(1) };
    assert!(of_groups(&[&group(Copy::new(), 5, "hk", &[separator]).end()]).unwrap().is_none());
}

fn fields(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> String {
    let row = score(1);
    let count = |n: i64| n.to_be_bytes().to_vec();
    let mut fields = vec![
        count((24 << 32) + 1),
        count(900),
        7i32.to_be_bytes().to_vec(),
        5i32.to_be_bytes().to_vec(),
        b"hk".to_vec(),
        row.score_type.clone().into_bytes(),
        count(5),
        0.5f64.to_be_bytes().to_vec(),
        b"t".to_vec(),
        count(0),
    ];
    change(&mut fields);
    let copy = Copy::new().row(&fields.iter().map(|field| Some(field.as_slice())).collect::<Vec<_>>()).end();
    of_groups(&[&copy]).map(|batch| format!("{} rows", batch.unwrap().num_rows())).unwrap_or_else(|e| e.to_string())
}

#[test]
fn a_group_that_does_not_fit_says_where() {
    assert_eq!(fields(|_| {}), "1 rows");
    insta::assert_snapshot!(fields(|f| f[6] = vec![0; 7]), @"reading scores of run 7: row 1, column calculation_time: found 0 values for 1 rows, expected a value in each row, never NULL");
    insta::assert_snapshot!(fields(|f| f[6] = (i64::MAX - 1).to_be_bytes().to_vec()), @"reading scores of run 7: row 1, column calculation_time: found a time 9223372036854775806 µs after 2000-01-01, expected a time before the year 294247, or infinity");
    insta::assert_snapshot!(fields(|f| f[0].extend([0; 8])), @"reading scores of run 7: row 2, column score_type: found 1 values for 2 rows, expected a value in each row, never NULL");
    insta::assert_snapshot!(fields(|f| f[0].push(0)), @"reading scores of run 7: row 1, column id: found 1 values for 1 rows, expected a value in each row, never NULL");
    insta::assert_snapshot!(fields(|f| f[0].clear()), @"reading scores of run 7: row 1 begins a group without rows");
    insta::assert_snapshot!(fields(|f| f[3] = vec![1]), @"reading scores of run 7: row 1, column miner_uid: found a value of 1 bytes, expected integer (2 or 4 bytes)");
    insta::assert_snapshot!(fields(|f| f[5] = vec![0xff]), @"reading scores of run 7: row 1, column score_type: found text that is not UTF-8 (invalid utf-8 sequence of 1 bytes from index 0), expected text in UTF-8");
    insta::assert_snapshot!(fields(|f| { f.pop(); }), @"reading scores of run 7: row 1 is not the group of rows that was asked for");
}

fn any_score() -> impl Strategy<Value = Score> {
    let double = prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::MIN), Just(-0.0)];
    let lead = prop_oneof![any::<i32>(), Just(MISSING_INT), Just(i32::MIN), 0..3i32];
    let text = || "[ab\u{1}\u{2}]{0,2}";
    (
        any::<i32>().prop_map(i64::from),
        text(),
        0..9i64,
        prop::option::of(double),
        prop::option::of(lead),
        prop::option::of(text()),
    )
        .prop_map(|(id, score_type, time, score, lead, level)| Score { id, score_type, time, score, lead, level })
}

proptest! {
    #[test]
    fn groups_give_the_rows_or_say_that_they_cannot(rows in prop::collection::vec(any_score(), 1..12)) {
        let expected = decode(Decoder::new(&layout(), "t"), &[&single(Copy::new(), 5, "hk", &rows).end()]).unwrap().unwrap();
        if let Some(found) = of_groups(&[&group(Copy::new(), 5, "hk", &rows).end()]).unwrap() {
            prop_assert_eq!(cells(&found), cells(&expected));
        }
    }

    #[test]
    fn a_damaged_group_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = group(Copy::new(), 5, "hk", &[score(1), odd(2)]).end();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = of_groups(&[&bytes]);
    }
}
