//! Arithmetic (A): sums that are rounded once, and what is built on them.
//!
//! A sum never depends on order, chunking, thread count or machine (A1). Short slices of ordinary scores take a fast path
//! that proves on the way that it was exact; all else goes through [`ExactSum`].

#[cfg(test)]
mod tests;

/// A1: the real-number sum, rounded once to the nearest double, ties to even; 0.0 for nothing.
///
/// Infinities and NaN follow IEEE: `inf + -inf` is NaN. A passing overflow does not matter.
pub fn sum(values: &[f64]) -> f64 {
    sum_of(values.iter().copied())
}

/// [`sum`] of values that are computed on the way; they are walked again where the fast path gives up.
pub fn sum_of(values: impl Iterator<Item = f64> + Clone) -> f64 {
    fast_sum(values.clone()).unwrap_or_else(|| values.collect::<ExactSum>().total())
}

/// A2. `None` where there are no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| sum(values) / values.len() as f64)
}

/// A3: the sample standard deviation in two passes. `None` below two values.
pub fn stddev(values: &[f64]) -> Option<f64> {
    let m = mean(values)?;
    deviation(sum_of(values.iter().map(|x| (x - m) * (x - m))), values.len() as u64)
}

/// A3, where the second pass is done: from the number of the values and the sum of their squared distances from the mean.
pub fn deviation(squares: f64, values: u64) -> Option<f64> {
    (values > 1).then(|| (squares / (values - 1) as f64).sqrt())
}

/// A4: linear interpolation in values sorted ascending, with `p` in 0..=1. `None` where there are no values.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    debug_assert!((0.0..=1.0).contains(&p) && sorted.is_sorted());
    let h = p * sorted.len().checked_sub(1)? as f64;
    let i = h.floor();
    let low = *sorted.get(i as usize)?;
    if h == i {
        return Some(low);
    }
    let high = *sorted.get(i as usize + 1)?;
    Some(low + (h - i) * (high - low))
}

/// A5: `min(max(x, 0), 1)`. NaN stays NaN, so that A6 makes it NULL.
pub fn clamp(x: f64) -> f64 {
    x.clamp(0.0, 1.0)
}

/// A6: how a result leaves: `-0.0` as `0.0`, and what is not finite as NULL.
pub fn output(x: f64) -> Option<f64> {
    // Only -0.0 is changed by adding zero.
    x.is_finite().then_some(x + 0.0)
}

/// The sum where two doubles can hold it exactly, which is so for all ordinary scores; else `None`.
///
/// Why the result is right: [`two_sum`] loses nothing, so after each step `high + low + (all lost)` is the exact sum so
/// far, where `lost` collects the magnitudes of what did not fit into `low`. Magnitudes cannot cancel: `lost == 0.0` at the
/// end means that each was zero, hence the exact sum is `high + low`, and that last addition is A1's one rounding. (It may
/// round to an infinity; then the exact sum lies that far out.) An overflow on the way, an infinity or a NaN makes the error
/// term non-finite, then `lost` NaN, and NaN does not equal zero. Underflow does no harm: binary64 addition is exact there.
fn fast_sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut high, mut low, mut lost) = (0.0, 0.0, 0.0);
    for x in values {
        let (sum, error) = two_sum(high, x);
        let (rest, error) = two_sum(low, error);
        (high, low) = (sum, rest);
        lost += error.abs();
    }
    (lost == 0.0).then_some(high + low)
}

/// Knuth's TwoSum: `a + b` rounded, and exactly what the rounding took away, in whatever order of magnitude.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let a_part = sum - b_part;
    (sum, (a - a_part) + (b - b_part))
}

/// Bits in a limb of [`ExactSum`]. The rest of its i64 is room for carries.
const LIMB_BITS: usize = 32;
const LIMB_MASK: i64 = (1 << LIMB_BITS) - 1;
/// Doubles reach over 2098 bits, from 2^-1074 to below 2^1024: 66 limbs; the last one takes the carries of 2^63 additions.
const LIMBS: usize = 67;
/// Additions between two carries. Each changes a limb by less than 2^32, so limbs stay far below 2^63, even right after a
/// merge, which counts as up to one more than this.
const MAX_PENDING: u32 = 1 << 30;

/// Bits of a double's significand that are stored.
const FRACTION_BITS: usize = f64::MANTISSA_DIGITS as usize - 1;
const FRACTION_MASK: u64 = (1 << FRACTION_BITS) - 1;
const EXPONENT_MASK: u64 = 0x7ff;
/// The lowest bit of the largest doubles, counted from 2^-1074.
const MAX_CUT: usize = f64::MAX_EXP as usize - f64::MANTISSA_DIGITS as usize + 1074;

/// The exact sum of any number of doubles in flat memory, whatever their order.
///
/// A fixed-point number that covers all doubles: the sum of `limbs[i] * 2^(32 * i - 1074)`. Limbs are signed and carry
/// lazily, so that an addition touches three of them and no more.
#[derive(Debug, Clone)]
pub struct ExactSum {
    limbs: [i64; LIMBS],
    /// Additions since the last carry.
    pending: u32,
    /// The IEEE sum of all infinities and NaNs; 0.0 where there are none.
    not_finite: f64,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<f64> for ExactSum {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sum = Self::new();
        values.into_iter().for_each(|x| sum.add(x));
        sum
    }
}

impl ExactSum {
    pub const fn new() -> Self {
        Self { limbs: [0; LIMBS], pending: 0, not_finite: 0.0 }
    }

    pub fn add(&mut self, x: f64) {
        if !x.is_finite() {
            self.not_finite += x;
            return;
        }
        self.make_room(1);
        let (significand, shift) = significand(x);
        let wide = u128::from(significand) << (shift % LIMB_BITS);
        let sign = if x.is_sign_negative() { -1 } else { 1 };
        for (i, limb) in self.limbs[shift / LIMB_BITS..][..3].iter_mut().enumerate() {
            *limb += sign * ((wide >> (i * LIMB_BITS)) as i64 & LIMB_MASK);
        }
    }

    pub fn merge(&mut self, other: &ExactSum) {
        // One more than it has pending: its limbs began below 2^32, not at zero.
        self.make_room(other.pending + 1);
        self.limbs.iter_mut().zip(&other.limbs).for_each(|(a, b)| *a += b);
        self.not_finite += other.not_finite;
    }

    /// A1: what has been added so far, rounded once.
    pub fn total(&self) -> f64 {
        if self.not_finite != 0.0 {
            return self.not_finite;
        }
        let mut limbs = self.limbs;
        carry(&mut limbs);
        if limbs[LIMBS - 1] >= 0 {
            return rounded(&limbs);
        }
        limbs.iter_mut().for_each(|limb| *limb = -*limb);
        carry(&mut limbs);
        -rounded(&limbs)
    }

    /// Carries first where `additions` more could overflow a limb.
    fn make_room(&mut self, additions: u32) {
        if self.pending + additions > MAX_PENDING {
            carry(&mut self.limbs);
            self.pending = 0;
        }
        self.pending += additions;
    }
}

/// The significand of a finite double as an integer, and the power of two above 2^-1074 that it is multiplied by.
fn significand(x: f64) -> (u64, usize) {
    let fraction = x.to_bits() & FRACTION_MASK;
    match (x.to_bits() >> FRACTION_BITS) & EXPONENT_MASK {
        0 => (fraction, 0),
        exponent => (fraction | (1 << FRACTION_BITS), exponent as usize - 1),
    }
}

/// Brings all limbs but the last into `0..2^32`, so that the last one has the sign of the number.
fn carry(limbs: &mut [i64; LIMBS]) {
    for i in 0..LIMBS - 1 {
        limbs[i + 1] += limbs[i] >> LIMB_BITS;
        limbs[i] &= LIMB_MASK;
    }
}

/// The double nearest to carried limbs that are not negative, ties to even.
fn rounded(limbs: &[i64; LIMBS]) -> f64 {
    let Some(top) = limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
    let msb = top * LIMB_BITS + limbs[top].ilog2() as usize;
    // The lowest bit that stays: no double has one below 2^-1074.
    let cut = msb.saturating_sub(FRACTION_BITS);
    if cut > MAX_CUT {
        return f64::INFINITY;
    }
    let kept = bits_from(limbs, cut);
    let up = cut > 0 && {
        let half = bits_from(limbs, cut - 1) & 1 == 1;
        half && (kept & 1 == 1 || any_below(limbs, cut - 1))
    };
    // The leading bit of `kept` adds one to the exponent, and so does a carry out of the rounding, into infinity at the end.
    f64::from_bits(((cut as u64) << FRACTION_BITS) + kept + u64::from(up))
}

/// The 64 bits (or what is there of them) from bit `from` on.
fn bits_from(limbs: &[i64; LIMBS], from: usize) -> u64 {
    let three = limbs[from / LIMB_BITS..].iter().take(3).enumerate();
    let wide: u128 = three.map(|(i, &limb)| (limb as u128) << (i * LIMB_BITS)).sum();
    (wide >> (from % LIMB_BITS)) as u64
}

/// Whether any bit below bit `end` is set.
fn any_below(limbs: &[i64; LIMBS], end: usize) -> bool {
    let (whole, part) = (end / LIMB_BITS, end % LIMB_BITS);
    limbs[..whole].iter().any(|&limb| limb != 0) || limbs[whole] & ((1 << part) - 1) != 0
}
