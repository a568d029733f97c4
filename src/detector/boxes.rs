//! Box arithmetic of torchvision's `BoxCoder` and `box_ops`, in f32 and in its order of operations.
//!
//! Boxes are x0, y0, x1, y1 in pixels. `exp` comes from the `libm` crate, so that the same deltas give the same boxes
//! on every machine.

/// Decoder of box deltas: torchvision's `BoxCoder.decode_single`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCoder {
    /// Divisors of dx, dy, dw, dh: 1 in the proposal network, (10, 10, 5, 5) in the second stage.
    pub weights: [f32; 4],
    /// Upper limit of dw and dh: ln(1000 / 16) in torchvision (`bbox_xform_clip`).
    pub log_size_clamp: f32,
}

impl BoxCoder {
    /// A decoder with these divisors, for boxes that grow by at most the factor `max_growth` in a direction.
    pub fn new(weights: [f64; 4], max_growth: f64) -> Self {
        Self { weights: weights.map(|weight| weight as f32), log_size_clamp: libm::log(max_growth) as f32 }
    }

    /// The box that `delta` (dx, dy, dw, dh) makes of `reference`. With width w and centre x of the reference, the new
    /// centre is dx·w + x, and the new width e^dw · w.
    #[inline]
    pub fn decode(&self, reference: [f32; 4], delta: [f32; 4]) -> [f32; 4] {
        decode(reference, delta, self.weights, self.log_size_clamp)
    }
}

#[inline]
fn decode(reference: [f32; 4], delta: [f32; 4], weights: [f32; 4], clamp: f32) -> [f32; 4] {
    let [x0, y0, x1, y1] = reference;
    let (width, height) = (x1 - x0, y1 - y0);
    let (centre_x, centre_y) = (x0 + 0.5 * width, y0 + 0.5 * height);
    let dx = delta[0] / weights[0];
    let dy = delta[1] / weights[1];
    let dw = (delta[2] / weights[2]).min(clamp);
    let dh = (delta[3] / weights[3]).min(clamp);
    let new_x = dx * width + centre_x;
    let new_y = dy * height + centre_y;
    let half_width = 0.5 * (libm::expf(dw) * width);
    let half_height = 0.5 * (libm::expf(dh) * height);
    [new_x - half_width, new_y - half_height, new_x + half_width, new_y + half_height]
}

/// The box clipped to a picture of `height` × `width` pixels (`clip_boxes_to_image`). A NaN corner becomes 0.
#[inline]
pub fn clip([x0, y0, x1, y1]: [f32; 4], height: f32, width: f32) -> [f32; 4] {
    [x0.max(0.0).min(width), y0.max(0.0).min(height), x1.max(0.0).min(width), y1.max(0.0).min(height)]
}

/// True if both sides are at least `minimum` pixels (`remove_small_boxes`).
#[inline]
pub fn is_large_enough([x0, y0, x1, y1]: [f32; 4], minimum: f32) -> bool {
    x1 - x0 >= minimum && y1 - y0 >= minimum
}

/// Area in square pixels.
#[inline]
pub fn area([x0, y0, x1, y1]: [f32; 4]) -> f32 {
    (x1 - x0) * (y1 - y0)
}

/// Intersection over union of two boxes, 0 to 1; 0 where either has no area.
///
/// Non-maximum suppression and COCO's evaluation have loops of their own. Suppression runs over columns and keeps
/// torchvision's NaN for two empty boxes; COCO's evaluation needs f64 and pycocotools' order of operations.
#[inline]
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |low: f32, high: f32| (high - low).max(0.0);
    let area = |of: [f32; 4]| side(of[0], of[2]) * side(of[1], of[3]);
    let intersection = side(a[0].max(b[0]), a[2].min(b[2])) * side(a[1].max(b[1]), a[3].min(b[3]));
    let union = area(a) + area(b) - intersection;
    if intersection > 0.0 && union > 0.0 { intersection / union } else { 0.0 }
}

/// Logistic function, computed as 1 / (1 + e⁻ˣ).
#[inline]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// Softmax in place: e^(x − max) / Σ, summed in order.
pub fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in logits.iter_mut() {
        *value = libm::expf(*value - largest);
        sum += *value;
    }
    for value in logits {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_deltas_give_the_reference_back() {
        let coder = BoxCoder::new([10.0, 10.0, 5.0, 5.0], 62.5);
        assert_eq!(coder.decode([4.0, 8.0, 20.0, 16.0], [0.0; 4]), [4.0, 8.0, 20.0, 16.0]);
    }

    #[test]
    fn sizes_are_clamped() {
        let [x0, _, x1, _] = BoxCoder::new([1.0; 4], 62.5).decode([0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 100.0, 0.0]);
        assert!(((x1 - x0) - 1000.0).abs() < 1e-2, "{}", x1 - x0);
    }

    #[test]
    fn a_nan_box_stays_in_the_picture() {
        assert_eq!(clip([f32::NAN, -3.0, 9.0, f32::INFINITY], 5.0, 7.0), [0.0, 0.0, 7.0, 5.0]);
    }

    #[test]
    fn overlaps_of_known_boxes() {
        let a = [0.0, 0.0, 2.0, 2.0];
        assert_eq!(iou(a, a), 1.0);
        assert_eq!(iou(a, [1.0, 0.0, 3.0, 2.0]), 1.0 / 3.0);
        assert_eq!(iou(a, [2.0, 0.0, 3.0, 2.0]), 0.0);
        assert_eq!(iou(a, [1.0, 1.0, 1.0, 1.0]), 0.0);
        assert_eq!(iou(a, [3.0, 3.0, 1.0, 1.0]), 0.0);
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut row = [1000.0, 999.0, -1000.0];
        softmax(&mut row);
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((row[0] - 0.731_058_6).abs() < 1e-6);
    }
}
