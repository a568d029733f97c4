//! Boxes in pixels of the upright picture, and their IoU as COCO and as the paper compute it.

use serde::{Deserialize, Serialize};

/// A box: its corners and its sides. COCO computes with corner and sides, the paper with corners; storing both avoids a
/// rounding error that could move an IoU of exactly 0.5.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// x0, y0, x1, y1.
    pub corners: [f64; 4],
    /// Width and height.
    pub sides: [f64; 2],
}

impl Bounds {
    /// From x0, y0, x1, y1.
    pub fn from_corners(corners: [f64; 4]) -> Self {
        let [x0, y0, x1, y1] = corners;
        Self { corners, sides: [x1 - x0, y1 - y0] }
    }

    /// From x, y, width, height.
    pub fn from_sides([x, y, width, height]: [f64; 4]) -> Self {
        Self { corners: [x, y, x + width, y + height], sides: [width, height] }
    }

    /// x, y, width, height.
    pub fn xywh(&self) -> [f64; 4] {
        [self.corners[0], self.corners[1], self.sides[0], self.sides[1]]
    }

    /// Width × height, in pixels².
    pub fn area(&self) -> f64 {
        self.sides[0] * self.sides[1]
    }

    /// True if all numbers are finite and no side is negative.
    pub fn is_valid(&self) -> bool {
        self.corners.iter().chain(&self.sides).all(|value| value.is_finite())
            && self.sides.iter().all(|&side| side >= 0.0)
    }

    /// Area of the intersection, from corner and sides as in `bbIou` of pycocotools' `maskApi.c`.
    fn intersection(&self, other: &Self) -> f64 {
        let side = |axis: usize| {
            let end = |b: &Self| b.corners[axis] + b.sides[axis];
            end(self).min(end(other)) - self.corners[axis].max(other.corners[axis])
        };
        let (width, height) = (side(0), side(1));
        if width <= 0.0 || height <= 0.0 { 0.0 } else { width * height }
    }

    /// IoU as in COCO (`maskUtils.iou` on boxes). For a `crowd` region the union is this box alone.
    pub fn iou(&self, truth: &Self, crowd: bool) -> f64 {
        let intersection = self.intersection(truth);
        if intersection <= 0.0 {
            return 0.0;
        }
        let union = if crowd { self.area() } else { self.area() + truth.area() - intersection };
        intersection / union
    }

    /// IoU as in the paper's code: from the corners, with 10⁻⁶ added to the union.
    pub fn paper_iou(&self, truth: &Self) -> f64 {
        let ([ax0, ay0, ax1, ay1], [bx0, by0, bx1, by1]) = (self.corners, truth.corners);
        let intersection = (ax1.min(bx1) - ax0.max(bx0)).max(0.0) * (ay1.min(by1) - ay0.max(by0)).max(0.0);
        let area = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0);
        intersection / (area - intersection + 1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_known_boxes() {
        let a = Bounds::from_corners([0.0, 0.0, 10.0, 10.0]);
        let b = Bounds::from_sides([5.0, 0.0, 10.0, 10.0]);
        assert_eq!(a.iou(&b, false), 50.0 / 150.0);
        assert_eq!(a.iou(&b, true), 0.5);
        assert_eq!(a.paper_iou(&b), 50.0 / (150.0 + 1e-6));
        assert_eq!(a.iou(&Bounds::from_corners([10.0, 0.0, 20.0, 10.0]), false), 0.0);
    }

    #[test]
    fn an_iou_of_one_half_is_less_in_the_paper() {
        // The 10⁻⁶ in the union moves an IoU of exactly 0.5 below it.
        let (a, b) = (Bounds::from_corners([0.0, 0.0, 10.0, 10.0]), Bounds::from_corners([0.0, 0.0, 10.0, 5.0]));
        assert!(a.iou(&b, false) >= 0.5 && a.paper_iou(&b) < 0.5);
    }
}
