use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn a1_to_a4_conformance() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/arithmetic.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    assert!(!lines.is_empty());
    for line in lines.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let double = |bits: &serde_json::Value| f64::from_bits(u64::from_str_radix(bits.as_str().unwrap(), 16).unwrap());
        let mut x: Vec<f64> = case["x"].as_array().unwrap().iter().map(double).collect();
        let out = match case["op"].as_str().unwrap() {
            "sum" => Some(sum(&x)),
            "mean" => mean(&x),
            "stddev" => stddev(&x),
            "quantile" => {
                x.sort_by(f64::total_cmp);
                quantile(&x, case["p"].as_f64().unwrap())
            }
            op => panic!("unknown op {op}"),
        };
        let bits = out.map(|x| format!("{:016x}", (x + 0.0).to_bits()));
        assert_eq!(bits.as_deref(), case["out"].as_str(), "{line}");
    }
}

#[test]
fn a6_sums_of_what_is_not_finite_follow_ieee() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for (values, expected) in [
        (vec![inf, 1.0], inf),
        (vec![1.0, -inf, f64::MAX, f64::MAX], -inf),
        (vec![inf, f64::MIN, f64::MIN], inf),
        (vec![inf, 1.0, -inf], nan),
        (vec![nan, 1.0], nan),
        (vec![nan, inf], nan),
    ] {
        for total in [sum(&values), slow(&values)] {
            assert!(total == expected || (total.is_nan() && expected.is_nan()), "{values:?}: {total}");
        }
    }
}

#[test]
fn a6_no_sum_is_negative_zero() {
    for values in [vec![], vec![-0.0], vec![-0.0; 3], vec![1.0, -1.0], vec![-1.0, 1.0, -0.0]] {
        assert_eq!(sum(&values).to_bits(), 0, "{values:?}");
        assert_eq!(slow(&values).to_bits(), 0, "{values:?}");
    }
}

#[test]
fn a1_a_sum_is_rounded_once() {
    assert_eq!(sum(&[1e16, 1.0, 1.0]), 1e16 + 2.0);
    assert_eq!(sum(&[0.1; 10]), 1.0);
    assert_eq!(sum(&[f64::MAX, f64::MAX, f64::MIN]), f64::MAX, "an overflow on the way is none");
    assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
    // Half way between two doubles: to the even one, and up where anything is left over.
    assert_eq!(sum(&[1.0, f64::EPSILON / 2.0]), 1.0);
    assert_eq!(sum(&[1.0, f64::EPSILON / 2.0, 5e-324]), 1.0 + f64::EPSILON);
}

#[test]
fn a1_ties_go_to_even_and_whatever_lies_below_breaks_them() {
    let half = f64::EPSILON / 2.0;
    for (values, expected) in [
        (vec![1.0, half], 1.0),
        (vec![1.0 + f64::EPSILON, half], 1.0 + 2.0 * f64::EPSILON),
        // In the same limb, in the next one, and at the very end.
        (vec![1.0, half, half / 4.0], 1.0 + f64::EPSILON),
        (vec![1.0, half, half / 2f64.powi(40)], 1.0 + f64::EPSILON),
        (vec![1.0, half, 5e-324], 1.0 + f64::EPSILON),
        (vec![1.0, half, -5e-324], 1.0),
        (vec![1.0, half / 2.0, half / 4.0], 1.0),
        (vec![2f64.powi(31), 2f64.powi(-22)], 2f64.powi(31)),
        (vec![2f64.powi(31), 2f64.powi(-22), 2f64.powi(-23)], 2f64.powi(31) + 2f64.powi(-21)),
        (vec![2f64.powi(-1021), 5e-324], 2f64.powi(-1021) + 5e-324),
    ] {
        assert_eq!(slow(&values), expected, "{values:?}");
        let negative: Vec<f64> = values.iter().map(|x| -x).collect();
        assert_eq!(slow(&negative), -expected, "{negative:?}");
    }
}

#[test]
fn a6_what_is_not_finite_stays_so_when_sums_are_merged() {
    let of = |values: &[f64]| values.iter().copied().collect::<ExactSum>();
    for (a, b, expected) in [(&[1.0][..], &[f64::INFINITY][..], f64::INFINITY), (&[f64::NEG_INFINITY], &[2.0], f64::NEG_INFINITY)]
    {
        let mut sum = of(a);
        sum.merge(&of(b));
        assert_eq!(sum.total(), expected);
    }
}

#[test]
fn a2_a_mean_is_one_division() {
    assert_eq!(mean(&[]), None);
    assert_eq!(mean(&[1.0, 2.0]), Some(1.5));
    assert_eq!(mean(&[1e16, 1.0, 1.0]), Some((1e16 + 2.0) / 3.0));
}

#[test]
fn a3_the_sample_deviation() {
    assert_eq!([stddev(&[]), stddev(&[7.0])], [None; 2]);
    assert_eq!(stddev(&[1.0, 3.0]), Some(2f64.sqrt()));
    // Mean 5, squares 9 1 1 1 0 0 4 16.
    assert_eq!(stddev(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), Some((32.0f64 / 7.0).sqrt()));
}

#[test]
fn a4_quantiles_are_interpolated() {
    let four = [1.0, 2.0, 3.0, 5.0];
    assert_eq!([0.0, 0.5, 1.0].map(|p| quantile(&four, p)), [1.0, 2.5, 5.0].map(Some));
    // h = 0.25 * 3 lies between the first and the second value.
    assert_eq!(quantile(&four, 0.25), Some(1.75));
    assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), Some(2.0), "a value itself where it is hit");
    assert_eq!([quantile(&[7.0], 0.3), quantile(&[], 0.5)], [Some(7.0), None]);
}

#[test]
fn a5_clamp() {
    assert_eq!([-0.5, 0.25, 7.0, f64::INFINITY, f64::NEG_INFINITY].map(clamp), [0.0, 0.25, 1.0, 1.0, 0.0]);
    assert!(clamp(f64::NAN).is_nan());
}

#[test]
fn a6_an_output_is_finite_and_no_negative_zero() {
    assert_eq!(output(-0.0).map(f64::to_bits), Some(0));
    assert_eq!(output(-5e-324), Some(-5e-324));
    assert_eq!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(output), [None; 3]);
}

#[test]
fn ordinary_scores_take_the_fast_path() {
    let scores: Vec<f64> = (0..27).map(|i| 500.0 / (1.0 + f64::from(i)) - 1.0 / 3.0).collect();
    assert!(fast_sum(scores.into_iter()).is_some());
}

#[test]
fn carries_come_in_time() {
    // As if 2^30 of the worst additions had been made: the next ones have to carry first.
    let mut full = ExactSum::new();
    let largest_chunks = f64::from_bits((32 + 1) << FRACTION_BITS | FRACTION_MASK);
    full.add(largest_chunks);
    full.limbs.iter_mut().for_each(|limb| *limb <<= 30);
    full.pending = MAX_PENDING;
    let mut sum = full.clone();
    sum.merge(&full);
    sum.merge(&full);
    sum.add(largest_chunks);
    let exact = (3 * (1i128 << 30) + 1) * i128::from(significand(largest_chunks).0);
    // The significand is times 2^32; scaling by powers of two is exact here.
    assert_eq!(sum.total(), exact as f64 * f64::from_bits(1 << 32));
}

/// Doubles that make trouble: any bits, neighbours of powers of two, subnormals, the largest, ordinary scores.
fn double() -> impl Strategy<Value = f64> {
    let tidy = vec![
        0.0,
        1.0,
        0.5,
        0.1,
        1e16,
        3.0 * f64::EPSILON,
        f64::EPSILON / 2.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        2f64.powi(970),
    ];
    let positive = prop_oneof![
        3 => any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite()),
        3 => (0u64..2047, 0u64..3).prop_map(|(exponent, off)| f64::from_bits(((exponent << 52) + off).saturating_sub(1))),
        2 => (1023u64 - 60..1023 + 60, 0u64..4).prop_map(|(exponent, low)| f64::from_bits(exponent << 52 | low)),
        2 => (2040u64..2047, any::<u64>()).prop_map(|(exponent, bits)| f64::from_bits(exponent << 52 | bits >> 12)),
        1 => (0u64..1 << 52).prop_map(f64::from_bits),
        2 => proptest::sample::select(tidy),
        3 => -1.0..500.0,
    ];
    (positive, any::<bool>()).prop_map(|(x, negate)| if negate { -x } else { x })
}

/// Lists that also hold the negations of some of their members, so that what is large cancels and what is small shows.
fn doubles() -> impl Strategy<Value = Vec<f64>> {
    (vec(double(), 0..30), vec(any::<bool>(), 30))
        .prop_map(|(x, cancelled)| {
            let negations: Vec<f64> = x.iter().zip(cancelled).filter(|(_, cancel)| *cancel).map(|(x, _)| -x).collect();
            [x, negations].concat()
        })
        .prop_shuffle()
}

fn slow(values: &[f64]) -> f64 {
    values.iter().copied().collect::<ExactSum>().total()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sum_is_the_exact_sum_rounded_once(x in doubles()) {
        let expected = oracle::sum(&x);
        prop_assert_eq!(slow(&x).to_bits(), expected.to_bits());
        prop_assert_eq!(sum(&x).to_bits(), expected.to_bits());
    }

    #[test]
    fn sum_is_exact_for_scores(x in vec(-1.0..500.0, 0..27)) {
        prop_assert_eq!(sum(&x).to_bits(), oracle::sum(&x).to_bits());
    }

    #[test]
    fn order_does_not_matter((x, y) in doubles().prop_flat_map(|x| (Just(x.clone()), Just(x).prop_shuffle()))) {
        prop_assert_eq!(sum(&x).to_bits(), sum(&y).to_bits());
        prop_assert_eq!(mean(&x).map(f64::to_bits), mean(&y).map(f64::to_bits));
        prop_assert_eq!(stddev(&x).map(f64::is_nan), stddev(&y).map(f64::is_nan));
    }

    #[test]
    fn chunks_do_not_matter(x in doubles(), sizes in vec(1usize..9, 60), backwards: bool) {
        let mut rest = x.as_slice();
        let mut chunks = Vec::new();
        for size in sizes {
            let (chunk, tail) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk.iter().copied().collect::<ExactSum>());
            rest = tail;
        }
        chunks.push(rest.iter().copied().collect());
        if backwards {
            chunks.reverse();
        }
        let merged = chunks.iter().fold(ExactSum::new(), |mut sum, chunk| {
            sum.merge(chunk);
            sum
        });
        prop_assert_eq!(merged.total().to_bits(), sum(&x).to_bits());
    }

    #[test]
    fn quantiles_lie_among_the_values(mut x in vec(-1.0..500.0, 1..40), p in 0.0..=1.0) {
        x.sort_by(f64::total_cmp);
        let q = quantile(&x, p).unwrap();
        prop_assert!(x[0] <= q && q <= x[x.len() - 1]);
        prop_assert_eq!(quantile(&x, 1.0), x.last().copied());
    }
}

/// Exact sums the long way: schoolbook integers of 64-bit limbs, one for each sign, and a search for the nearest double.
mod oracle {
    /// In units of 2^-1075, half the smallest double, so that halfway points are integers too.
    type Big = [u64; 36];

    fn big(x: f64) -> Big {
        let exponent = (x.to_bits() >> 52 & 0x7ff) as usize;
        let fraction = x.to_bits() & ((1 << 52) - 1);
        let (integer, power) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let mut big = [0; 36];
        for bit in (0..53).filter(|bit| integer >> bit & 1 == 1) {
            let at = bit + power + 1;
            big[at / 64] |= 1 << (at % 64);
        }
        big
    }

    fn plus(a: &Big, b: &Big) -> Big {
        let mut carry = false;
        std::array::from_fn(|i| {
            let (sum, over) = a[i].overflowing_add(b[i]);
            let (sum, over_too) = sum.overflowing_add(carry.into());
            carry = over || over_too;
            sum
        })
    }

    fn minus(a: &Big, b: &Big) -> Big {
        let mut borrow = false;
        std::array::from_fn(|i| {
            let (rest, under) = a[i].overflowing_sub(b[i]);
            let (rest, under_too) = rest.overflowing_sub(borrow.into());
            borrow = under || under_too;
            rest
        })
    }

    fn less(a: &Big, b: &Big) -> bool {
        a.iter().rev().lt(b.iter().rev())
    }

    /// The nearest double of not negative bits; what lies above the largest double counts as 2^1024, as IEEE rounds.
    fn nearest(exact: &Big) -> f64 {
        // Doubles that are not negative are ordered as their bits: search the last one that is not above.
        let (mut below, mut above) = (0u64, f64::INFINITY.to_bits());
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if less(exact, &value(middle)) { above = middle } else { below = middle }
        }
        // exact lies in below..above: compare it with the middle of the two, doubled.
        let (twice, middle_twice) = (plus(exact, exact), plus(&value(below), &value(above)));
        let up = less(&middle_twice, &twice) || (twice == middle_twice && below & 1 == 1);
        f64::from_bits(if up { above } else { below })
    }

    fn value(bits: u64) -> Big {
        if f64::from_bits(bits).is_finite() {
            return big(f64::from_bits(bits));
        }
        let half = big(2f64.powi(1023));
        plus(&half, &half)
    }

    pub fn sum(x: &[f64]) -> f64 {
        let of_sign =
            |negative| x.iter().filter(|x| x.is_sign_negative() == negative).fold([0; 36], |sum, x| plus(&sum, &big(*x)));
        let (gains, losses) = (of_sign(false), of_sign(true));
        if less(&gains, &losses) { -nearest(&minus(&losses, &gains)) } else { nearest(&minus(&gains, &losses)) }
    }
}
