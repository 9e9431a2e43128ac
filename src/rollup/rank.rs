//! R6: ranks by score, highest first; NULL has none.

use crate::model::settings::RankMethod;

/// The rank of each score, in the order given. Scores are finite (A6).
pub fn ranks(scores: &[Option<f64>], method: RankMethod) -> Vec<Option<i32>> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&i| scores[i].is_some()).collect();
    order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).expect("invariant: ranked scores are never NaN"));
    let mut ranks = vec![None; scores.len()];
    let mut rank = 0;
    for (place, &i) in order.iter().enumerate() {
        let tied = place > 0 && scores[order[place - 1]] == scores[i];
        if !tied {
            rank = match method {
                RankMethod::Competition => place as i32 + 1,
                RankMethod::Dense => rank + 1,
            };
        }
        ranks[i] = Some(rank);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_ties_and_nulls() {
        let scores = [Some(0.5), None, Some(0.9), Some(0.5), Some(0.1)];
        assert_eq!(ranks(&scores, RankMethod::Competition), [Some(2), None, Some(1), Some(2), Some(4)]);
        assert_eq!(ranks(&scores, RankMethod::Dense), [Some(2), None, Some(1), Some(2), Some(3)]);
    }
}
