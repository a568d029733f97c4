//! Calibration pictures as another light, another weather or another sensor would show them.
//!
//! Not to calibrate on: to learn what the biases lack where the layers' inputs are others (see [`super::respond`]). The
//! ways stand for what moves the means of activations: less light, less or more contrast, haze, a sensor's noise, a lens
//! out of focus.

use crate::frame::Picture;

/// A way to alter a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alteration {
    /// A third of the light.
    Darker,
    /// Half of the contrast, around mid grey.
    Flatter,
    /// Grey haze in front of it.
    Hazier,
    /// More contrast, so that both ends are cut off.
    Harsher,
    /// A sensor's noise of 17 grey levels.
    Noisier,
    /// Each pixel the mean of nine.
    Blurred,
}

/// All of them.
pub const ALTERATIONS: [Alteration; 6] = [
    Alteration::Darker,
    Alteration::Flatter,
    Alteration::Hazier,
    Alteration::Harsher,
    Alteration::Noisier,
    Alteration::Blurred,
];

impl Alteration {
    /// `picture` altered. The same picture gives the same pixels.
    pub fn of(self, picture: &Picture) -> Picture {
        let mut altered = picture.clone();
        match self {
            Self::Darker => map(&mut altered, |x| 0.35 * x),
            Self::Flatter => map(&mut altered, |x| 0.5 * x + 64.0),
            Self::Hazier => map(&mut altered, |x| 0.6 * x + 100.0),
            Self::Harsher => map(&mut altered, |x| 1.6 * (x - 110.0) + 110.0),
            Self::Noisier => {
                let mut random = 7u32;
                map(&mut altered, |x| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Even from −30 to 30.
                    x + 60.0 * ((random >> 16) as f32 / 65_536.0 - 0.5)
                });
            }
            Self::Blurred => blur(picture, &mut altered),
        }
        altered
    }
}

fn map(picture: &mut Picture, mut alter: impl FnMut(f32) -> f32) {
    picture.data.iter_mut().for_each(|value| *value = alter(f32::from(*value)).clamp(0.0, 255.0) as u8);
}

/// Means of three by three pixels, the border's own again beyond it.
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
    fn each_way_is_another_and_always_the_same() {
        let picture = Picture::new(8, 5, (0..120).map(|at| (at * 37 % 256) as u8).collect()).unwrap();
        let altered = ALTERATIONS.map(|way| way.of(&picture));
        for (at, one) in altered.iter().enumerate() {
            assert_eq!((one.width, one.height, one.data.len()), (8, 5, 120));
            assert!(*one != picture && altered[..at].iter().all(|other| other != one), "{:?}", ALTERATIONS[at]);
            assert_eq!(*one, ALTERATIONS[at].of(&picture));
        }
        let grey = Picture::filled(4, 3, [90; 3]);
        assert_eq!(Alteration::Blurred.of(&grey), grey);
        assert_eq!(Alteration::Darker.of(&grey), Picture::filled(4, 3, [31; 3]));
        assert_eq!(Alteration::Hazier.of(&grey), Picture::filled(4, 3, [154; 3]));
    }
}
