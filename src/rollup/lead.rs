//! L: one lead of one miner in one run.

use super::exact::{clamp, mean};

/// The values of one lead that section 2 leaves: skill (GFS and climatology alike), ACC, RMSE. Emptied and reused.
#[derive(Debug, Default)]
pub struct LeadValues {
    pub skill: Vec<f64>,
    pub acc: Vec<f64>,
    pub rmse: Vec<f64>,
}

/// The parts of a lead's score (L2, L3), before A6.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeadParts {
    pub skill: Option<f64>,
    pub acc: Option<f64>,
    pub rmse: Option<f64>,
}

impl LeadValues {
    pub fn clear(&mut self) {
        self.skill.clear();
        self.acc.clear();
        self.rmse.clear();
    }

    /// L2 and L3. The values are turned into their terms in place, and RMSE sorted.
    pub fn parts(&mut self) -> LeadParts {
        self.skill.iter_mut().for_each(|s| *s = clamp(*s));
        self.acc.iter_mut().for_each(|a| *a = (*a + 1.0) / 2.0);
        self.rmse.sort_unstable_by(f64::total_cmp);
        if let Some(&reference) = self.rmse.get(self.rmse.len() / 2) {
            for e in &mut self.rmse {
                let ratio = if reference > 0.0 { *e / reference } else { 1.0 };
                *e = 1.0 / (1.0 + ratio);
            }
        }
        LeadParts { skill: mean(&self.skill), acc: mean(&self.acc), rmse: mean(&self.rmse) }
    }
}

impl LeadParts {
    /// L4. `None` only where there is no value at all.
    pub fn score(self) -> Option<f64> {
        let score = match (self.skill, self.acc, self.rmse) {
            (Some(skill), Some(acc), Some(rmse)) => Some(0.6 * skill + 0.3 * acc + 0.1 * rmse),
            (Some(skill), Some(acc), None) => Some(0.6 * skill + 0.4 * acc),
            (skill, acc, rmse) => skill.or(acc).or(rmse),
        };
        score.map(clamp)
    }

    /// L4: what [`LeadParts::score`] computes, with its numbers.
    pub fn expression(self) -> String {
        match (self.skill, self.acc, self.rmse) {
            (Some(skill), Some(acc), Some(rmse)) => format!("clamp(0.6 * {skill} + 0.3 * {acc} + 0.1 * {rmse})"),
            (Some(skill), Some(acc), None) => format!("clamp(0.6 * {skill} + 0.4 * {acc})"),
            (skill, acc, rmse) => skill.or(acc).or(rmse).map_or(String::new(), |part| format!("clamp({part})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(skill: &[f64], acc: &[f64], rmse: &[f64]) -> LeadParts {
        LeadValues { skill: skill.to_vec(), acc: acc.to_vec(), rmse: rmse.to_vec() }.parts()
    }

    #[test]
    fn l2_clamps_skill_and_shifts_acc() {
        let p = parts(&[-1.0, 0.5, 3.0], &[1.0, 0.0], &[]);
        assert_eq!(p, LeadParts { skill: Some(0.5), acc: Some(0.75), rmse: None });
    }

    #[test]
    fn l3_takes_the_upper_median_as_reference() {
        // sorted 1, 2, 4, 8: index 2 is 4
        let p = parts(&[], &[], &[8.0, 1.0, 4.0, 2.0]);
        let expected = (1.0 / 1.25 + 1.0 / 1.5 + 1.0 / 2.0 + 1.0 / 3.0) / 4.0;
        assert!((p.rmse.unwrap() - expected).abs() < 1e-15);
        assert_eq!(parts(&[], &[], &[0.0, 0.0]).rmse, Some(0.5), "a reference of zero makes every ratio 1");
    }

    #[test]
    fn l4_weights_what_is_there() {
        assert_eq!(parts(&[0.5], &[0.0], &[1.0]).score(), Some(0.6 * 0.5 + 0.3 * 0.5 + 0.1 * 0.5));
        assert_eq!(parts(&[0.5], &[0.0], &[]).score(), Some(0.6 * 0.5 + 0.4 * 0.5));
        assert_eq!(parts(&[0.25], &[], &[1.0]).score(), Some(0.25));
        assert_eq!(parts(&[], &[9.0], &[1.0]).score(), Some(1.0), "clamped");
        assert_eq!(parts(&[], &[], &[1.0]).score(), Some(0.5));
        assert_eq!(parts(&[], &[], &[]).score(), None);
    }
}
