//! Sample quantiles, by the definitions that `numpy.quantile` calls `inverted_cdf`, `linear` and `nearest`.
//!
//! `share` is the probability of the quantile, 0 to 1; 0.5 gives the median. No value may be NaN.

/// Nearest rank (`inverted_cdf`): the smallest value that at least `share` of the values do not exceed. Sorts `values`;
/// `None` if there are none.
pub fn nearest_rank(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).or(values.last()).copied()
}

/// Linear interpolation between the two order statistics around (n − 1) · `share` (`linear`). `sorted` is in ascending
/// order; `None` if it is empty.
pub fn linear<T: Copy + Into<f64>>(sorted: &[T], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[place.floor() as usize].into(), sorted[place.ceil() as usize].into());
    Some(low + (high - low) * place.fract())
}

/// The order statistic nearest to (n − 1) · `share` (`nearest`, but halves round up). `sorted` is in ascending order;
/// `None` if it is empty.
pub fn nearest<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    sorted.get(place.round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_one_of_the_values() {
        assert_eq!(nearest_rank(&mut [3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(nearest_rank(&mut [3.0, 1.0, 2.0, 4.0], 0.99), Some(4.0));
        assert_eq!(nearest_rank(&mut [3.0, 1.0], 0.0), Some(1.0));
        assert_eq!(nearest_rank(&mut [], 0.5), None);
    }

    #[test]
    fn linear_quantiles_lie_between_neighbours() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(linear(&values, 0.025), Some(2.5));
        assert_eq!(linear(&[7.0f32], 0.975), Some(7.0));
        assert_eq!(linear::<f64>(&[], 0.5), None);
    }

    #[test]
    fn the_nearest_order_statistic_is_rounded_to() {
        assert_eq!(nearest(&[1.0, 2.0, 4.0], 0.74), Some(2.0));
        assert_eq!(nearest(&[1.0, 2.0, 4.0], 0.75), Some(4.0));
        assert_eq!(nearest::<f32>(&[], 0.5), None);
    }
}
