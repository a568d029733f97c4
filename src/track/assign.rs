//! Association of boxes: the assignment with the largest total.

/// Assignment of rows to columns with the largest sum of gains, as pairs `(row, column)` in order of rows.
///
/// `gain` is 0 for a forbidden pair; only pairs with a positive gain are returned. The method is that of shortest
/// augmenting paths with potentials (Jonker and Volgenant, 1987). It takes O(n² m) steps, n the shorter side.
pub fn assign(rows: usize, columns: usize, gain: &dyn Fn(usize, usize) -> f32) -> Vec<(usize, usize)> {
    if rows > columns {
        let mut pairs: Vec<_> =
            assign(columns, rows, &|row, column| gain(column, row)).into_iter().map(|(a, b)| (b, a)).collect();
        pairs.sort_unstable();
        return pairs;
    }
    // Row and column 0 mean "unassigned". The cost is 1 − gain in f64, so that sums keep ties apart.
    let cost = |row: usize, column: usize| 1.0 - f64::from(gain(row - 1, column - 1));
    let (mut row_potential, mut column_potential) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0usize; columns + 1];
    let mut came_from = vec![0usize; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut at = 0;
        let mut shortest = vec![f64::INFINITY; columns + 1];
        let mut done = vec![false; columns + 1];
        // Dijkstra over reduced costs: the cheapest path from this row to a free column.
        while row_of[at] != 0 {
            done[at] = true;
            let from = row_of[at];
            let (mut delta, mut next) = (f64::INFINITY, 0);
            for column in 1..=columns {
                if done[column] {
                    continue;
                }
                let reduced = cost(from, column) - row_potential[from] - column_potential[column];
                if reduced < shortest[column] {
                    shortest[column] = reduced;
                    came_from[column] = at;
                }
                if shortest[column] < delta {
                    delta = shortest[column];
                    next = column;
                }
            }
            // The potentials keep every reduced cost at or above zero, which the next search relies on.
            for column in 0..=columns {
                if done[column] {
                    row_potential[row_of[column]] += delta;
                    column_potential[column] -= delta;
                } else {
                    shortest[column] -= delta;
                }
            }
            at = next;
        }
        // The pairs along the path are flipped, which adds this row to the assignment.
        while at != 0 {
            let before = came_from[at];
            row_of[at] = row_of[before];
            at = before;
        }
    }
    let mut pairs: Vec<_> = (1..=columns)
        .filter(|&column| row_of[column] != 0)
        .map(|column| (row_of[column] - 1, column - 1))
        .filter(|&(row, column)| gain(row, column) > 0.0)
        .collect();
    pairs.sort_unstable();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest sum, by exhaustive search.
    fn best(rows: &[usize], columns: &[usize], gain: &dyn Fn(usize, usize) -> f32) -> f32 {
        let Some((&row, rest)) = rows.split_first() else { return 0.0 };
        let skipped = best(rest, columns, gain);
        columns.iter().fold(skipped, |most, &column| {
            let left: Vec<_> = columns.iter().copied().filter(|&other| other != column).collect();
            most.max(gain(row, column) + best(rest, &left, gain))
        })
    }

    proptest::proptest! {
        #[test]
        fn the_sum_is_the_largest(rows in 0usize..5, columns in 0usize..5, gains in proptest::collection::vec(0u8..8, 25)) {
            let gain = |row: usize, column: usize| f32::from(gains[row * 5 + column]) / 8.0;
            let pairs = assign(rows, columns, &gain);
            let sum: f32 = pairs.iter().map(|&(row, column)| gain(row, column)).sum();
            let all = |count: usize| (0..count).collect::<Vec<_>>();
            proptest::prop_assert_eq!(sum, best(&all(rows), &all(columns), &gain));
            for list in [pairs.iter().map(|pair| pair.0).collect::<Vec<_>>(), pairs.iter().map(|pair| pair.1).collect()] {
                let once: std::collections::BTreeSet<_> = list.iter().collect();
                proptest::prop_assert_eq!(once.len(), list.len());
            }
            proptest::prop_assert!(pairs.iter().all(|&(row, column)| gain(row, column) > 0.0));
        }
    }
}
