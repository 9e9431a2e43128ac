use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::*;
use crate::model::columns::Type;
use crate::model::evidence::{SCORES, Wire};
use crate::source::layout::{Layout, LayoutColumn};

/// Makes the bytes of a `COPY`, as the server would.
#[derive(Clone)]
pub(super) struct Copy(Vec<u8>);

impl Copy {
    pub(super) fn new() -> Copy {
        Copy([SIGNATURE.as_slice(), &[0; 8]].concat())
    }

    pub(super) fn row(mut self, values: &[Option<&[u8]>]) -> Copy {
        self.0.extend((values.len() as i16).to_be_bytes());
        for value in values {
            self.0.extend(value.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
            self.0.extend(value.unwrap_or_default());
        }
        self
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend(END_OF_ROWS.to_be_bytes());
        self.0
    }
}

fn column(name: &'static str, wire: Wire, nullable: bool) -> LayoutColumn {
    LayoutColumn { name: name.into(), wire, nullable }
}

fn all_kinds() -> Layout {
    let plain = |name, kind| column(name, Wire::Plain(kind), true);
    let columns = vec![
        plain("flag", Type::Bool),
        plain("small", Type::Int32),
        plain("large", Type::Int64),
        plain("score", Type::Float64),
        plain("time", Type::Time),
        plain("name", Type::Text),
        column("id", Wire::Id, false),
    ];
    Layout { table: "t", columns }
}

fn two_rows() -> Vec<u8> {
    let (one, id) = (1i32.to_be_bytes(), 9i64.to_be_bytes());
    let (big, float, time) = (i64::MIN.to_be_bytes(), (-0.0f64).to_be_bytes(), (-1i64).to_be_bytes());
    let values: [&[u8]; 7] = [&[1], &one, &big, &float, &time, "Ünïcode".as_bytes(), &id];
    let nulls = [None, None, None, None, None, None, Some(one.as_slice())];
    Copy::new().row(&values.map(Some)).row(&nulls).end()
}

fn decode(layout: &Layout, pieces: &[&[u8]]) -> Result<RecordBatch> {
    let mut decoder = Decoder::new(layout, "t of run 7");
    pieces.iter().try_for_each(|piece| decoder.push(piece))?;
    decoder.finish()
}

fn message(layout: &Layout, bytes: &[u8]) -> String {
    decode(layout, &[bytes]).unwrap_err().to_string()
}

fn one_text(nullable: bool) -> Layout {
    Layout { table: "t", columns: vec![column("name", Wire::Plain(Type::Text), nullable)] }
}

fn one_float() -> Layout {
    Layout { table: "t", columns: vec![column("score", Wire::Plain(Type::Float64), true)] }
}

#[test]
fn every_kind_comes_out_as_it_went_in() {
    let batch = decode(&all_kinds(), &[&two_rows()]).unwrap();
    assert_eq!(batch.num_rows(), 2);
    assert!(batch.column(0).as_boolean().value(0));
    assert_eq!(batch.column(1).as_primitive::<Int32Type>().value(0), 1);
    assert_eq!(batch.column(2).as_primitive::<Int64Type>().value(0), i64::MIN);
    assert_eq!(batch.column(3).as_primitive::<Float64Type>().value(0).to_bits(), (-0.0f64).to_bits());
    assert_eq!(batch.column(4).as_primitive::<TimestampMicrosecondType>().value(0), 946_684_799_999_999);
    let names = batch.column(5).as_dictionary::<Int32Type>();
    assert_eq!(names.values().as_string::<i32>().value(names.keys().value(0) as usize), "Ünïcode");
    assert_eq!(batch.column(6).as_primitive::<Int64Type>().values(), &[9, 1]);
    assert!((0..6).all(|i| batch.column(i).is_null(1)));
}

#[test]
fn input_may_be_cut_at_every_byte() {
    let (layout, bytes) = (all_kinds(), two_rows());
    let whole = decode(&layout, &[&bytes]).unwrap();
    for cut in 0..=bytes.len() {
        assert_eq!(decode(&layout, &[&bytes[..cut], &bytes[cut..]]).unwrap(), whole, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(&layout, &single).unwrap(), whole);
}

#[test]
fn input_that_ends_early_is_an_error_at_every_byte() {
    let (layout, bytes) = (all_kinds(), two_rows());
    for cut in 0..bytes.len() {
        let error = message(&layout, &bytes[..cut]);
        assert!(error.starts_with("reading t of run 7: the data ends before the end-of-data mark, in "), "{cut}: {error}");
    }
}

#[test]
fn batches_can_be_taken_in_between() {
    let (layout, bytes) = (all_kinds(), two_rows());
    let whole = decode(&layout, &[&bytes]).unwrap();
    for cut in 0..=bytes.len() {
        let mut decoder = Decoder::new(&layout, "t");
        decoder.push(&bytes[..cut]).unwrap();
        let first = decoder.take_batch().unwrap();
        decoder.push(&bytes[cut..]).unwrap();
        let second = decoder.finish().unwrap();
        assert_eq!(arrow_select::concat::concat_batches(&layout.schema(), [&first, &second]).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn no_rows_give_an_empty_batch_in_the_contract_s_schema() {
    let batch = decode(&Layout::from(&SCORES), &[&Copy::new().end()]).unwrap();
    assert_eq!((batch.num_rows(), batch.schema()), (0, SCORES.schema()));
}

#[test]
fn null_where_none_may_be_names_column_and_row() {
    let bytes = Copy::new().row(&[Some(b"a")]).row(&[None]).end();
    insta::assert_snapshot!(message(&one_text(false), &bytes), @"reading t of run 7: row 2, column name: found NULL, expected text in UTF-8, never NULL");
}

#[test]
fn wrong_values_name_what_was_found_and_expected() {
    let float = one_float();
    insta::assert_snapshot!(message(&float, &Copy::new().row(&[Some(&[0; 4])]).end()), @"reading t of run 7: row 1, column score: found a value of 4 bytes, expected double precision (8 bytes)");
    insta::assert_snapshot!(message(&float, &Copy::new().row(&[None, None]).end()), @"reading t of run 7: row 1 has 2 columns, expected 1");
    insta::assert_snapshot!(message(&one_text(true), &Copy::new().row(&[Some(b"a\xff")]).end()), @"reading t of run 7: row 1, column name: found text that is not UTF-8 (invalid utf-8 sequence of 1 bytes from index 1), expected text in UTF-8");
    insta::assert_snapshot!(message(&float, b"PGCOPX"), @"reading t of run 7: the data does not begin with the signature of COPY's binary format");
    let more = [Copy::new().end(), vec![0]].concat();
    insta::assert_snapshot!(message(&float, &more), @"reading t of run 7: there is more data after the end-of-data mark");
}

#[test]
fn absurd_lengths_are_refused_before_their_bytes_come() {
    let claim = |length: i32| [Copy::new().0, 1i16.to_be_bytes().to_vec(), length.to_be_bytes().to_vec()].concat();
    insta::assert_snapshot!(message(&one_text(true), &claim(i32::MAX)), @"reading t of run 7: row 1, column name: found a value of 2147483647 bytes, expected at most 67108864 bytes");
    insta::assert_snapshot!(message(&one_text(true), &claim(-2)), @"reading t of run 7: row 1, column name: found a value of length -2, expected text in UTF-8");
    insta::assert_snapshot!(message(&one_float(), &claim(9)), @"reading t of run 7: row 1, column score: found a value of 9 bytes, expected double precision (8 bytes)");
    let mut header = Copy::new().0;
    header[15..19].copy_from_slice(&u32::MAX.to_be_bytes());
    insta::assert_snapshot!(message(&one_float(), &header), @"reading t of run 7: the header claims an extension of 4294967295 bytes");
}

#[test]
fn an_extension_of_the_header_is_skipped() {
    let mut bytes = Copy::new().end();
    bytes[18] = 3;
    bytes.splice(19..19, *b"ext");
    for cut in 0..=bytes.len() {
        assert_eq!(decode(&one_float(), &[&bytes[..cut], &bytes[cut..]]).unwrap().num_rows(), 0);
    }
}

#[test]
fn the_infinities_of_time_stay_what_they_are() {
    let layout = Layout { table: "t", columns: vec![column("at", Wire::Plain(Type::Time), true)] };
    let (low, high) = (i64::MIN.to_be_bytes(), i64::MAX.to_be_bytes());
    let batch = decode(&layout, &[&Copy::new().row(&[Some(&low)]).row(&[Some(&high)]).end()]).unwrap();
    assert_eq!(batch.column(0).as_primitive::<TimestampMicrosecondType>().values(), &[i64::MIN, i64::MAX]);
    let beyond = (i64::MAX - 1).to_be_bytes();
    let error = message(&layout, &Copy::new().row(&[Some(&beyond)]).end());
    insta::assert_snapshot!(error, @"reading t of run 7: row 1, column at: found a time 9223372036854775806 µs after 2000-01-01, expected a time before the year 294247, or infinity");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(noise in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(noise.len() + 1);
        let _ = decode(&all_kinds(), &[&noise[..cut], &noise[cut..]]);
        let behind_a_header = [Copy::new().0, noise].concat();
        let _ = decode(&all_kinds(), &[&behind_a_header]);
    }

    #[test]
    fn one_changed_byte_gives_a_batch_or_an_error(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = two_rows();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let cut = cut.index(bytes.len() + 1);
        let whole = decode(&all_kinds(), &[&bytes]).map_err(|e| e.to_string());
        let parts = decode(&all_kinds(), &[&bytes[..cut], &bytes[cut..]]).map_err(|e| e.to_string());
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn all_floats_keep_their_bits(bits in prop::collection::vec(any::<u64>(), 0..50)) {
        let copy = bits.iter().fold(Copy::new(), |copy, bits| copy.row(&[Some(&bits.to_be_bytes())]));
        let batch = decode(&one_float(), &[&copy.end()]).unwrap();
        let back: Vec<u64> = batch.column(0).as_primitive::<Float64Type>().values().iter().map(|x| x.to_bits()).collect();
        prop_assert_eq!(back, bits);
    }

    #[test]
    fn texts_come_back(texts in prop::collection::vec(prop::option::of("[a-cü]{0,3}"), 0..80)) {
        let copy = texts.iter().fold(Copy::new(), |copy, text| copy.row(&[text.as_ref().map(|t| t.as_bytes())]));
        let batch = decode(&one_text(true), &[&copy.end()]).unwrap();
        let coded = batch.column(0).as_dictionary::<Int32Type>();
        let values = coded.values().as_string::<i32>();
        let back: Vec<_> = coded.keys().iter().map(|code| code.map(|code| values.value(code as usize).to_owned())).collect();
        prop_assert_eq!(back, texts);
        let distinct: std::collections::BTreeSet<_> = values.iter().collect();
        prop_assert_eq!(distinct.len(), values.len());
    }
}
