//! Points, polygons and lines of a picture.

/// x and y: as fractions of the picture's width and height, or in pixels.
pub type Point = [f32; 2];

/// True if the polygon `corners` contains the point, by the even-odd rule: counts the edges that a ray to the right
/// crosses. An edge includes its upper end and excludes its lower end, so that a ray through a corner crosses once. The
/// last row of the frame counts as inside, because a box that the frame cuts off ends there. All are fractions.
pub fn contains(corners: &[Point], [x, y]: Point) -> bool {
    let y = y.min(1.0 - f32::EPSILON);
    let crossed = edges(corners)
        .filter(|([x0, y0], [x1, y1])| (*y0 > y) != (*y1 > y) && x < x0 + (y - y0) / (y1 - y0) * (x1 - x0));
    crossed.count() % 2 == 1
}

/// The edges of a polygon.
fn edges(corners: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    corners.iter().copied().zip(corners.iter().copied().cycle().skip(1))
}

/// Distance in pixels from `point` to the border of the polygon `corners`, both as fractions of a picture of `size`.
/// Edges along the picture's border are no border: nothing is beyond them.
pub fn distance_to_border(corners: &[Point], point: Point, size: [f32; 2]) -> f32 {
    let on_border = |a: Point, b: Point| (0..2).any(|axis| a[axis] == b[axis] && (a[axis] <= 0.0 || a[axis] >= 1.0));
    let inner = edges(corners).filter(|&(a, b)| !on_border(a, b));
    let distances = inner.map(|(a, b)| distance_to_segment(scaled(a, size), scaled(b, size), scaled(point, size)));
    distances.fold(f32::INFINITY, f32::min)
}

/// `point`, a fraction of a picture of `size`, in pixels.
pub fn scaled(point: Point, size: [f32; 2]) -> Point {
    [point[0] * size[0], point[1] * size[1]]
}

/// Distance from `point` to the segment from `a` to `b`.
pub fn distance_to_segment(a: Point, b: Point, point: Point) -> f32 {
    let along = [b[0] - a[0], b[1] - a[1]];
    let share = (share_along(a, b, point)).clamp(0.0, 1.0);
    let (x, y) = (point[0] - a[0] - share * along[0], point[1] - a[1] - share * along[1]);
    (x * x + y * y).sqrt()
}

/// Place of the foot of `point` on the line through `a` and `b`: 0 at `a`, 1 at `b`.
fn share_along(a: Point, b: Point, point: Point) -> f32 {
    let along = [b[0] - a[0], b[1] - a[1]];
    let square = along[0] * along[0] + along[1] * along[1];
    if square == 0.0 {
        return 0.0;
    }
    ((point[0] - a[0]) * along[0] + (point[1] - a[1]) * along[1]) / square
}

/// Above 0 if `point` is to the right of the line, for someone who looks from `a` to `b`; y grows downwards.
pub fn side(a: Point, b: Point, point: Point) -> f32 {
    (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])
}

/// True if a step from `from` to `to` crosses the segment from `a` to `b`. A point on the line counts as left of it.
pub fn crosses(a: Point, b: Point, from: Point, to: Point) -> bool {
    let (before, after) = (side(a, b, from), side(a, b, to));
    if (before > 0.0) == (after > 0.0) {
        return false;
    }
    let share = before / (before - after);
    let point = [from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])];
    (0.0..=1.0).contains(&share_along(a, b, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: &[Point] = &[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];

    #[test]
    fn a_point_is_inside_by_the_even_odd_rule() {
        assert!(contains(LEFT, [0.25, 0.5]) && !contains(LEFT, [0.75, 0.5]));
        assert!(contains(LEFT, [0.25, 1.0]), "the last row belongs to the frame");
        let arrow = [[0.1, 0.1], [0.9, 0.5], [0.1, 0.9], [0.4, 0.5]];
        assert!(contains(&arrow, [0.5, 0.5]) && !contains(&arrow, [0.2, 0.5]), "a dent is outside");
        // A ray through a corner crosses once.
        let diamond = [[0.5, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]];
        assert!(contains(&diamond, [0.25, 0.5]) && !contains(&diamond, [0.1, 0.1]));
        assert!(!contains(&[], [0.5, 0.5]));
    }

    #[test]
    fn the_border_of_the_picture_is_no_border_of_a_zone() {
        let size = [200.0, 100.0];
        for point in [[0.4, 1.0], [0.6, 0.2]] {
            assert!((distance_to_border(LEFT, point, size) - 20.0).abs() < 1e-3);
        }
        let whole = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
        assert_eq!(distance_to_border(&whole, [0.5, 0.5], size), f32::INFINITY);
    }

    #[test]
    fn right_is_right_for_someone_who_looks_along_the_line() {
        // Up in the picture.
        assert!(side([0.5, 1.0], [0.5, 0.0], [0.8, 0.5]) > 0.0);
        // To the right.
        assert!(side([0.0, 0.5], [1.0, 0.5], [0.5, 0.8]) > 0.0);
    }

    #[test]
    fn a_step_crosses_a_segment_only_between_its_ends() {
        let (a, b) = ([0.0, 0.0], [10.0, 0.0]);
        assert!(crosses(a, b, [5.0, -1.0], [5.0, 1.0]) && crosses(a, b, [5.0, 1.0], [5.0, -1.0]));
        assert!(!crosses(a, b, [11.0, -1.0], [11.0, 1.0]), "beyond its end");
        assert!(!crosses(a, b, [5.0, -2.0], [5.0, -1.0]));
        // Over a point on the line: once.
        let steps = [[5.0, -1.0], [5.0, 0.0], [5.0, 1.0]];
        assert_eq!(steps.windows(2).filter(|step| crosses(a, b, step[0], step[1])).count(), 1);
        assert!(!crosses(a, a, [5.0, -1.0], [5.0, 1.0]), "a line without length");
    }
}
