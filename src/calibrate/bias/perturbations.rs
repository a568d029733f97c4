//! Perturbations: calibration pictures as another brightness, weather or sensor would show them.
//!
//! Networks are not calibrated on perturbed pictures. They measure the bias shift of every layer (see
//! [`super::shift_models()`]). The perturbations are those that change the means of activations most: lower brightness,
//! lower and higher contrast, haze, sensor noise, defocus.

use crate::frame::Picture;

/// A perturbation of a picture with 8-bit channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Perturbation {
    /// Brightness × 0.35.
    Darken,
    /// Contrast × 0.5 around mid grey.
    LowerContrast,
    /// Grey haze: contrast × 0.6, brightness + 100.
    Haze,
    /// Contrast × 1.6 around level 110, clipped at both ends.
    RaiseContrast,
    /// Uniform noise of ± 30 levels (standard deviation 17) in every channel.
    Noise,
    /// Box filter of 3 × 3 pixels.
    Blur,
}

/// All perturbations, in the order in which artifacts store their effects.
pub const PERTURBATIONS: [Perturbation; 6] = [
    Perturbation::Darken,
    Perturbation::LowerContrast,
    Perturbation::Haze,
    Perturbation::RaiseContrast,
    Perturbation::Noise,
    Perturbation::Blur,
];

impl Perturbation {
    /// The perturbed `picture`. The same picture gives the same pixels.
    pub fn apply(self, picture: &Picture) -> Picture {
        let mut perturbed = picture.clone();
        match self {
            Self::Darken => map(&mut perturbed, |x| 0.35 * x),
            Self::LowerContrast => map(&mut perturbed, |x| 0.5 * x + 64.0),
            Self::Haze => map(&mut perturbed, |x| 0.6 * x + 100.0),
            Self::RaiseContrast => map(&mut perturbed, |x| 1.6 * (x - 110.0) + 110.0),
            Self::Noise => {
                let mut random = 7u32;
                map(&mut perturbed, |x| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Uniform from −30 to 30.
                    x + 60.0 * ((random >> 16) as f32 / 65_536.0 - 0.5)
                });
            }
            Self::Blur => blur(picture, &mut perturbed),
        }
        perturbed
    }
}

fn map(picture: &mut Picture, mut level: impl FnMut(f32) -> f32) {
    picture.data.iter_mut().for_each(|value| *value = level(f32::from(*value)).clamp(0.0, 255.0) as u8);
}

/// Means of 3 × 3 pixels; pixels at the border are repeated beyond it.
fn blur(picture: &Picture, blurred: &mut Picture) {
    let (width, height) = (picture.width, picture.height);
    let row = |y: usize| &picture.data[y * width * 3..][..width * 3];
    let mut at = 0;
    for y in 0..height {
        let rows = [row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1))];
        for x in 0..width {
            let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            for channel in 0..3 {
                let sum: u32 = rows.iter().flat_map(|row| columns.map(|x| u32::from(row[x * 3 + channel]))).sum();
                blurred.data[at] = ((sum + 4) / 9) as u8;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perturbations_differ_and_are_deterministic() {
        let picture = Picture::new(8, 5, (0..120).map(|at| (at * 37 % 256) as u8).collect()).unwrap();
        let perturbed = PERTURBATIONS.map(|perturbation| perturbation.apply(&picture));
        for (at, one) in perturbed.iter().enumerate() {
            assert_eq!((one.width, one.height, one.data.len()), (8, 5, 120));
            assert!(*one != picture && perturbed[..at].iter().all(|other| other != one), "{:?}", PERTURBATIONS[at]);
            assert_eq!(*one, PERTURBATIONS[at].apply(&picture));
        }
        let grey = Picture::filled(4, 3, [90; 3]);
        assert_eq!(Perturbation::Blur.apply(&grey), grey);
        assert_eq!(Perturbation::Darken.apply(&grey), Picture::filled(4, 3, [31; 3]));
        assert_eq!(Perturbation::Haze.apply(&grey), Picture::filled(4, 3, [154; 3]));
    }
}
