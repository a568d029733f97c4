//! Bounding boxes with labels.

use super::{Rect, TextSize, class_colour, fill, ink_on, outline, text, text_width};
use crate::frame::Picture;

/// A bounding box to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// x0, y0, x1, y1 in pixels of the picture.
    pub bbox: [f32; 4],
    /// Class number, which chooses the colour; 1 is the first class.
    pub class: usize,
    /// Text of the label; no label if empty.
    pub text: String,
}

/// Draws `marks`, the first on top of the others.
///
/// Line width and text size scale with the picture. A label is drawn above its box, or at the first other corner that
/// covers no earlier label. It is always inside the picture.
pub fn marks(picture: &mut Picture, marks: &[Mark]) {
    let short = picture.width.min(picture.height);
    let thickness = (short as i64 / 250).clamp(2, 12);
    let size = TextSize::for_picture(short);
    let boxes: Vec<Rect> = marks.iter().map(|mark| pixels(mark.bbox)).collect();
    let tags = place_tags(picture, marks, &boxes, size);

    for (mark, rect) in marks.iter().zip(&boxes).rev() {
        // A dark outer outline keeps a light box visible on a light background.
        outline(picture, rect.grown(1), 1, [0; 3], 120);
        outline(picture, *rect, thickness, class_colour(mark.class), 255);
    }
    for (mark, tag) in marks.iter().zip(&tags).rev() {
        let Some(tag) = *tag else { continue };
        let colour = class_colour(mark.class);
        fill(picture, tag, colour, 255);
        text(picture, tag.x + margin(size), tag.y, &mark.text, size, ink_on(colour));
    }
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

/// Position of each label, in the order of the marks.
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
        let is_free = |place: &&Rect| placed.iter().flatten().all(|other| !other.intersects(place));
        let place = corners.iter().find(is_free).unwrap_or(&corners[0]);
        placed.push(Some(*place));
    }
    placed
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
        Mark { bbox, class: 1, text: text.to_owned() }
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
    fn odd_boxes_are_drawn_without_harm() {
        let mut picture = Picture::filled(40, 30, [9; 3]);
        let infinite = [f32::INFINITY, 0.0, f32::NEG_INFINITY, 1.0];
        let odd = [[f32::NAN; 4], infinite, [5.0; 4], [-1e30, 0.0, 1e30, 9.0]];
        marks(&mut picture, &odd.map(|bbox| mark(bbox, "x")));
        marks(&mut Picture::default(), &[mark([0.0, 0.0, 1.0, 1.0], "x")]);
    }
}
