//! Bounding boxes with labels.

use super::{Colour, Rect, TextSize, class_colour, fill, ink_on, line, outline, text, text_width};
use crate::frame::Picture;

/// A bounding box to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// x0, y0, x1, y1 in pixels of the picture.
    pub bbox: [f32; 4],
    /// Colour of the box and its label.
    pub colour: Colour,
    /// True for a dashed box.
    pub is_dashed: bool,
    /// Text of the label; no label if empty.
    pub text: String,
}

impl Mark {
    /// A solid box in the colour of a class; 1 is the first class.
    pub fn of_class(bbox: [f32; 4], class: usize, text: String) -> Self {
        Self { bbox, colour: class_colour(class), is_dashed: false, text }
    }
}

/// Draws `marks`, the first on top of the others.
///
/// Line width and text size scale with the picture. A label is drawn at a corner of its box, if possible above it, where
/// it covers no earlier label and little of other boxes. Without such a corner it is drawn at the nearest free place, with
/// a line to its box. It is always inside the picture and never covers another label; if the labels before it leave no
/// room, it is left out.
pub fn marks(picture: &mut Picture, marks: &[Mark]) {
    let short = picture.width.min(picture.height);
    let thickness = (short as i64 / 250).clamp(2, 12);
    let size = TextSize::for_picture(short);
    let boxes: Vec<Rect> = marks.iter().map(|mark| pixels(mark.bbox)).collect();
    let tags = place_tags(picture, marks, &boxes, size);

    for (mark, rect) in marks.iter().zip(&boxes).rev() {
        // A dark outer outline keeps a light box visible on a light background.
        if mark.is_dashed {
            dashed_outline(picture, rect.grown(1), thickness + 2, [0; 3], 120);
            dashed_outline(picture, *rect, thickness, mark.colour, 255);
        } else {
            outline(picture, rect.grown(1), 1, [0; 3], 120);
            outline(picture, *rect, thickness, mark.colour, 255);
        }
    }
    for ((mark, rect), tag) in marks.iter().zip(&boxes).zip(&tags) {
        let Some(tag) = tag.filter(|tag| !tag.grown(1).intersects(rect)) else { continue };
        let (from, to) = nearest_points(&tag, rect);
        line(picture, from, to, thickness as f32 / 2.0 + 0.5, mark.colour);
    }
    for (mark, tag) in marks.iter().zip(&tags) {
        let Some(tag) = *tag else { continue };
        fill(picture, tag, mark.colour, 255);
        text(picture, tag.x + margin(size), tag.y, &mark.text, size, ink_on(mark.colour));
    }
}

/// Draws the outline of `rect` in dashes four times as long as they are wide, with gaps of three widths.
fn dashed_outline(picture: &mut Picture, rect: Rect, thickness: i64, colour: Colour, opacity: u8) {
    let Rect { x, y, width, height } = rect;
    let (dash, period) = (4 * thickness, 7 * thickness);
    // Boxes may extend far beyond the picture; only the part near it has dashes.
    let starts = |from: i64, length: i64, limit: usize| {
        let first = ((-from).max(0) / period) * period;
        (first..length.min(limit as i64 - from)).step_by(period as usize)
    };
    for at in starts(x, width, picture.width) {
        let length = dash.min(width - at);
        fill(picture, Rect::new(x + at, y, length, thickness.min(height)), colour, opacity);
        fill(
            picture,
            Rect::new(x + at, y + (height - thickness).max(0), length, thickness.min(height)),
            colour,
            opacity,
        );
    }
    for at in starts(y, height, picture.height) {
        let length = dash.min(height - at);
        fill(picture, Rect::new(x, y + at, thickness.min(width), length), colour, opacity);
        fill(picture, Rect::new(x + (width - thickness).max(0), y + at, thickness.min(width), length), colour, opacity);
    }
}

/// The points of two disjoint rectangles that are nearest to each other.
fn nearest_points(a: &Rect, b: &Rect) -> ([f32; 2], [f32; 2]) {
    // On one axis: the ends that face each other, or the middle of the common part.
    let on_axis = |(a, a_length): (i64, i64), (b, b_length): (i64, i64)| {
        let (a_end, b_end) = (a + a_length, b + b_length);
        if a_end <= b {
            (a_end, b)
        } else if b_end <= a {
            (a, b_end)
        } else {
            let middle = (a.max(b) + a_end.min(b_end)) / 2;
            (middle, middle)
        }
    };
    let (from_x, to_x) = on_axis((a.x, a.width), (b.x, b.width));
    let (from_y, to_y) = on_axis((a.y, a.height), (b.y, b.height));
    ([from_x as f32, from_y as f32], [to_x as f32, to_y as f32])
}

/// Space between a label's border and its text, in pixels.
fn margin(size: TextSize) -> i64 {
    size.advance() / 3
}

/// Pixels covered by a box, at least one.
fn pixels(bbox: [f32; 4]) -> Rect {
    // The cast turns NaN into 0; the clamp prevents overflow of sums.
    let [left, top, right, bottom] = bbox.map(|edge| edge.round().clamp(-1e6, 1e6) as i64);
    Rect::new(left, top, (right - left).max(1), (bottom - top).max(1))
}

/// Position of each label, in the order of the marks. No two of them intersect.
fn place_tags(picture: &Picture, marks: &[Mark], boxes: &[Rect], size: TextSize) -> Vec<Option<Rect>> {
    let mut placed: Vec<Option<Rect>> = Vec::with_capacity(marks.len());
    for (mark, rect) in marks.iter().zip(boxes) {
        if mark.text.is_empty() {
            placed.push(None);
            continue;
        }
        let (width, height) = (text_width(&mark.text, size) + 2 * margin(size), size.height());
        let (left, right) = (rect.x, rect.x + rect.width - width);
        let (above, below) = (rect.y - height, rect.y + rect.height);
        let (head, foot) = (rect.y, rect.y + rect.height - height);
        let corners =
            [(left, above), (left, head), (right, above), (left, below), (right, head), (left, foot), (right, below)];
        let corners = corners.map(|(x, y)| moved_inside(picture, Rect::new(x, y, width, height)));
        let is_free = |place: &Rect| placed.iter().flatten().all(|other| !other.intersects(place));
        // Of the free corners the one that covers the least of the other boxes, and the first of equal ones.
        let covered =
            |place: &Rect| boxes.iter().filter(|other| *other != rect).map(|other| common(place, other)).sum::<i64>();
        let corner = corners.into_iter().filter(is_free).min_by_key(covered);
        let place = corner.or_else(|| {
            let mut places = places_on_raster(picture, width, height);
            places.sort_by_key(|place| distance_squared(place, rect));
            places.into_iter().find(is_free)
        });
        placed.push(place);
    }
    placed
}

/// Places of the size of a label, half a line and a quarter of a label apart, over the whole picture.
fn places_on_raster(picture: &Picture, width: i64, height: i64) -> Vec<Rect> {
    let starts = |space: usize, size: i64, step: i64| {
        let last = (space as i64 - size).max(0);
        (0..last).step_by(step.max(1) as usize).chain([last])
    };
    let rows = starts(picture.height, height, height / 2);
    let row = |y: i64| starts(picture.width, width, width / 4).map(move |x| Rect::new(x, y, width, height));
    rows.flat_map(row).collect()
}

/// Number of pixels that two rectangles share.
fn common(a: &Rect, b: &Rect) -> i64 {
    let side = |a: i64, a_length: i64, b: i64, b_length: i64| ((a + a_length).min(b + b_length) - a.max(b)).max(0);
    side(a.x, a.width, b.x, b.width) * side(a.y, a.height, b.y, b.height)
}

/// Square of the distance between two rectangles, 0 if they touch.
fn distance_squared(a: &Rect, b: &Rect) -> i64 {
    let gap = |a: i64, a_length: i64, b: i64, b_length: i64| (b - a - a_length).max(a - b - b_length).max(0);
    let (dx, dy) = (gap(a.x, a.width, b.x, b.width), gap(a.y, a.height, b.y, b.height));
    dx * dx + dy * dy
}

/// Moves `rect` so that it starts inside the picture, and ends inside if it fits.
fn moved_inside(picture: &Picture, rect: Rect) -> Rect {
    let x = rect.x.min(picture.width as i64 - rect.width).max(0);
    let y = rect.y.min(picture.height as i64 - rect.height).max(0);
    Rect { x, y, ..rect }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(bbox: [f32; 4], text: &str) -> Mark {
        Mark::of_class(bbox, 1, text.to_owned())
    }

    fn tags(picture: &Picture, marks: &[Mark]) -> Vec<Rect> {
        let boxes: Vec<_> = marks.iter().map(|mark| pixels(mark.bbox)).collect();
        place_tags(picture, marks, &boxes, TextSize::SMALL).into_iter().map(Option::unwrap).collect()
    }

    #[test]
    fn a_tag_stands_above_its_box_where_there_is_room() {
        let picture = Picture::filled(300, 200, [0; 3]);
        let tag = tags(&picture, &[mark([50.0, 60.0, 100.0, 90.0], "Person 0.91")])[0];
        assert_eq!((tag.x, tag.y + tag.height), (50, 60));
    }

    #[test]
    fn tags_stay_inside_the_picture() {
        let picture = Picture::filled(300, 200, [0; 3]);
        for x in [-40.0, 0.0, 150.0, 290.0, 400.0] {
            for y in [-40.0, 0.0, 100.0, 195.0, 400.0] {
                let tag = tags(&picture, &[mark([x, y, x + 20.0, y + 20.0], "Person 0.91")])[0];
                assert!(tag.is_inside(&picture), "{tag:?}");
            }
        }
    }

    #[test]
    fn tags_of_boxes_at_one_place_do_not_cover_each_other() {
        let picture = Picture::filled(600, 400, [0; 3]);
        let all = tags(&picture, &vec![mark([100.0, 100.0, 200.0, 200.0], "Person 0.91"); 3]);
        for (index, tag) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| !other.intersects(tag)), "{all:?}");
        }
    }

    #[test]
    fn no_tag_hides_another_however_many_boxes_share_a_place() {
        let picture = Picture::filled(600, 400, [0; 3]);
        let same = vec![mark([300.0, 200.0, 330.0, 220.0], "TwoWheeler 0.91"); 40];
        let all = tags(&picture, &same);
        for (index, tag) in all.iter().enumerate() {
            assert!(tag.is_inside(&picture), "{tag:?}");
            assert!(all[..index].iter().all(|other| !other.intersects(tag)), "{index}: {tag:?}");
        }
        // Near its box, not anywhere.
        assert!(all.iter().all(|tag| distance_squared(tag, &Rect::new(300, 200, 30, 20)) < 200 * 200), "{all:?}");
        // A full picture has no room for the last ones, which are left out.
        let boxes = vec![pixels([10.0, 10.0, 60.0, 60.0]); 60];
        let many = vec![mark([10.0, 10.0, 60.0, 60.0], "Person 0.91"); 60];
        let placed = place_tags(&Picture::filled(200, 100, [0; 3]), &many, &boxes, TextSize::SMALL);
        let shown: Vec<Rect> = placed.iter().flatten().copied().collect();
        assert!((4..60).contains(&shown.len()), "{}", shown.len());
        assert!((0..shown.len()).all(|at| shown[..at].iter().all(|other| !other.intersects(&shown[at]))));
    }

    #[test]
    fn a_tag_away_from_its_box_has_a_line_to_it() {
        let (a, b) = (Rect::new(0, 0, 10, 10), Rect::new(30, 4, 10, 20));
        assert_eq!(nearest_points(&a, &b), ([10.0, 7.0], [30.0, 7.0]));
        assert_eq!(nearest_points(&b, &a), ([30.0, 7.0], [10.0, 7.0]));
        assert_eq!(distance_squared(&a, &Rect::new(13, 14, 1, 1)), 25);
    }

    #[test]
    fn a_dashed_box_has_gaps() {
        let mut picture = Picture::filled(120, 80, [0; 3]);
        let dashed = Mark { is_dashed: true, ..mark([10.0, 10.0, 110.0, 70.0], "") };
        marks(&mut picture, &[dashed]);
        let colour = class_colour(1);
        let drawn = (10..110).filter(|&x| picture.pixel(x, 10) == colour).count();
        assert!((45..75).contains(&drawn), "{drawn}");
        assert_eq!(picture.pixel(60, 40), [0; 3]);
    }

    #[test]
    fn odd_boxes_are_drawn_without_harm() {
        let mut picture = Picture::filled(40, 30, [9; 3]);
        let infinite = [f32::INFINITY, 0.0, f32::NEG_INFINITY, 1.0];
        let odd = [[f32::NAN; 4], infinite, [5.0; 4], [-1e30, 0.0, 1e30, 9.0]];
        marks(&mut picture, &odd.map(|bbox| mark(bbox, "x")));
        marks(&mut picture, &odd.map(|bbox| Mark { is_dashed: true, ..mark(bbox, "x") }));
        marks(&mut Picture::default(), &[mark([0.0, 0.0, 1.0, 1.0], "x")]);
    }
}
