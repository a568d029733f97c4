//! Usability check of calibration pictures.
//!
//! In: decoded pictures. Out: three figures of each picture, and a [`UsabilityReport`] of all. Ranges chosen from black
//! pictures, one grey wall or noise fit no real scene, and the quantized model would fail silently. Such pictures are
//! refused with the reason. The limits come from 300 road and street pictures (coarse correlation 0.57 to 0.95, coarse
//! deviation 14 to 90) and from generated noise (coarse correlation −0.02 to 0.1).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::frame::Picture;

/// Cells along the longer side of a picture. The mean of a cell suppresses noise of sensors and codecs.
const CELLS: usize = 40;
/// A picture is flat if the cells deviate by less than this, and the pixels by less than [`FLAT_DEVIATION`].
const FLAT_COARSE_DEVIATION: f64 = 2.5;
/// Largest deviation that noise alone adds to a flat surface, in grey levels.
const FLAT_DEVIATION: f64 = 12.0;
/// A picture is noise if neighbouring cells correlate by less.
const NOISE_CORRELATION: f64 = 0.3;
/// With fewer pictures, ranges depend on the choice of the pictures.
const FEW_PICTURES: usize = 32;
/// At most one unusable picture in so many is left out. A set with more is refused, since it is not the intended one.
pub const TOLERATED_UNUSABLE_ONE_IN: usize = 10;

/// Structure of a picture, in grey levels (0 to 255).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageStructure {
    /// Standard deviation of the pixels.
    pub deviation: f64,
    /// Standard deviation of the means of square cells, a fortieth of the longer side wide.
    pub coarse_deviation: f64,
    /// Correlation of neighbouring cells: near 1 in scenes, near 0 in noise.
    pub coarse_correlation: f64,
}

impl ImageStructure {
    /// Structure of `picture`. All sums are integers until the last division, so the figures are the same everywhere.
    pub fn of(picture: &Picture) -> Self {
        let (width, height) = (picture.width, picture.height);
        let cell = (width.max(height) / CELLS).max(1);
        let (columns, rows) = (width / cell, height / cell);
        let mut cells = vec![0u64; columns * rows];
        let (mut sum, mut squares) = (0u64, 0u64);
        for y in 0..height {
            for (x, pixel) in picture.row(y).as_chunks::<3>().0.iter().enumerate() {
                // ITU-R 601 luma in 256ths.
                let [r, g, b] = pixel.map(u64::from);
                let grey = (77 * r + 150 * g + 29 * b) >> 8;
                sum += grey;
                squares += grey * grey;
                let (column, row) = (x / cell, y / cell);
                if column < columns && row < rows {
                    cells[row * columns + column] += grey;
                }
            }
        }
        let area = (cell * cell) as f64;
        let cells: Vec<f64> = cells.iter().map(|&sum| sum as f64 / area).collect();
        let pixels = (width * height).max(1) as f64;
        let mean = sum as f64 / pixels;
        let (coarse_deviation, coarse_correlation) = structure(&cells, columns);
        Self {
            deviation: (squares as f64 / pixels - mean * mean).max(0.0).sqrt(),
            coarse_deviation,
            coarse_correlation,
        }
    }

    /// Reason why the picture is unusable, if it is.
    pub fn unusable(&self) -> Option<Unusable> {
        if self.coarse_deviation < FLAT_COARSE_DEVIATION && self.deviation < FLAT_DEVIATION {
            return Some(Unusable::Flat { deviation: self.deviation });
        }
        if self.coarse_correlation < NOISE_CORRELATION {
            return Some(Unusable::Noise { correlation: self.coarse_correlation });
        }
        None
    }
}

/// Standard deviation of the cells, and mean correlation of each with the next one to the right and below.
fn structure(cells: &[f64], columns: usize) -> (f64, f64) {
    if cells.is_empty() {
        return (0.0, 0.0);
    }
    let mean = cells.iter().sum::<f64>() / cells.len() as f64;
    let variance = cells.iter().map(|cell| (cell - mean).powi(2)).sum::<f64>() / cells.len() as f64;
    let (mut products, mut pairs) = (0.0, 0u32);
    for (at, cell) in cells.iter().enumerate() {
        let right = (at % columns + 1 < columns).then_some(at + 1);
        for next in [right, Some(at + columns)].into_iter().flatten() {
            if let Some(next) = cells.get(next) {
                products += (cell - mean) * (next - mean);
                pairs += 1;
            }
        }
    }
    let correlation = if variance > 0.0 && pairs > 0 { products / f64::from(pairs) / variance } else { 0.0 };
    (variance.sqrt(), correlation)
}

/// Reason why a picture is unusable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unusable {
    /// One flat surface.
    Flat {
        /// Standard deviation of the pixels, in grey levels.
        deviation: f64,
    },
    /// Noise without a scene.
    Noise {
        /// Correlation of neighbouring cells.
        correlation: f64,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat { deviation } => {
                write!(f, "shows one flat surface (its grey levels deviate by {deviation:.1})")
            }
            Self::Noise { correlation } => write!(
                f,
                "is noise (neighbouring areas correlate by {correlation:.2}, in scenes by {NOISE_CORRELATION} and more)"
            ),
        }
    }
}

/// A picture and the figures that [`check_pictures`] uses.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedPicture {
    /// Name for messages.
    pub name: String,
    /// Structure of the picture.
    pub structure: ImageStructure,
    /// [`pixel_sha256`] of the picture.
    pub sha256: [u8; 32],
}

impl CheckedPicture {
    /// Computes the figures of `picture`.
    pub fn new(name: impl Into<String>, picture: &Picture) -> Self {
        Self { name: name.into(), structure: ImageStructure::of(picture), sha256: pixel_sha256(picture) }
    }
}

/// SHA-256 of a picture's size and pixels, whatever file it came from.
pub fn pixel_sha256(picture: &Picture) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((picture.width as u64).to_le_bytes());
    hash.update((picture.height as u64).to_le_bytes());
    hash.update(&picture.data);
    hash.finalize().into()
}

/// Findings about a set of pictures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsabilityReport {
    /// Indices of the pictures to leave out.
    pub unusable: Vec<usize>,
    /// A sentence for each unusable picture, and for a fault of the whole set.
    pub reasons: Vec<String>,
    /// True if the set is refused.
    pub refused: bool,
    /// Warnings for the owner.
    pub warnings: Vec<String>,
}

/// Checks a set of pictures. No pictures, or more than a tenth flat or noisy ones, are refused. Fewer are left out with
/// a warning. Few pictures and repeated pictures give a warning.
pub fn check_pictures(pictures: &[CheckedPicture]) -> UsabilityReport {
    let mut report = UsabilityReport::default();
    for (at, picture) in pictures.iter().enumerate() {
        if let Some(reason) = picture.structure.unusable() {
            report.unusable.push(at);
            report.reasons.push(format!("{} {reason}", picture.name));
        }
    }
    let usable = pictures.len() - report.unusable.len();
    if pictures.is_empty() {
        report.reasons.push("there is no picture to calibrate on".into());
    }
    report.refused = usable == 0 || report.unusable.len() * TOLERATED_UNUSABLE_ONE_IN > pictures.len();
    if report.refused {
        return report;
    }
    report.warnings.extend(report.reasons.iter().map(|reason| format!("left out: {reason}")));
    if usable < FEW_PICTURES {
        report.warnings.push(format!(
            "only {usable} pictures: ranges from fewer than {FEW_PICTURES} depend on which ones were chosen"
        ));
    }
    let mut distinct: Vec<&[u8; 32]> = pictures.iter().map(|picture| &picture.sha256).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < pictures.len() {
        let repeated = pictures.len() - distinct.len();
        report.warnings.push(format!("{repeated} of {} pictures repeat another one", pictures.len()));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize, seed: u32) -> Picture {
        let mut state = seed;
        let data = (0..width * height * 3)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Picture::new(width, height, data).unwrap()
    }

    /// Sky, road and two dark boxes, with a little noise on top.
    fn scene(width: usize, height: usize, seed: u32) -> Picture {
        let mut picture = noise(width, height, seed);
        for y in 0..height {
            for x in 0..width {
                let (u, v) = (x as f64 / width as f64, y as f64 / height as f64);
                let boxed = v > 0.4 && v < 0.7 && ((0.2..0.35).contains(&u) || (0.6..0.8).contains(&u));
                let base = if boxed { 30.0 } else { 200.0 - 120.0 * v };
                for value in &mut picture.data[(y * width + x) * 3..][..3] {
                    *value = (base + f64::from(*value) / 16.0) as u8;
                }
            }
        }
        picture
    }

    fn checked(pictures: impl IntoIterator<Item = Picture>) -> Vec<CheckedPicture> {
        pictures
            .into_iter()
            .enumerate()
            .map(|(at, picture)| CheckedPicture::new(format!("{at}.png"), &picture))
            .collect()
    }

    #[test]
    fn scenes_pass_at_any_size() {
        for (width, height) in [(640, 480), (1242, 375), (64, 64), (240, 360)] {
            let structure = ImageStructure::of(&scene(width, height, 1));
            assert_eq!(structure.unusable(), None, "{structure:?}");
        }
    }

    #[test]
    fn noise_is_refused_also_when_enlarged() {
        for (width, height) in [(640, 480), (1242, 375), (64, 64)] {
            assert!(matches!(ImageStructure::of(&noise(width, height, 7)).unusable(), Some(Unusable::Noise { .. })));
        }
        let small = noise(160, 120, 3);
        let mut data = Vec::new();
        for y in 0..480 {
            for x in 0..640 {
                data.extend(small.pixel(x / 4, y / 4));
            }
        }
        let enlarged = Picture::new(640, 480, data).unwrap();
        assert!(matches!(ImageStructure::of(&enlarged).unusable(), Some(Unusable::Noise { .. })));
    }

    #[test]
    fn a_covered_lens_is_flat_in_spite_of_its_noise() {
        let mut covered = noise(640, 480, 5);
        covered.data.iter_mut().for_each(|value| *value = 10 + *value / 16);
        for picture in [covered, Picture::filled(300, 200, [90, 120, 3]), Picture::filled(1, 1, [0; 3])] {
            assert!(matches!(ImageStructure::of(&picture).unusable(), Some(Unusable::Flat { .. })));
        }
    }

    #[test]
    fn reports() {
        let nothing = check_pictures(&[]);
        assert!(nothing.refused && nothing.reasons[0].contains("no picture"));

        let flat = check_pictures(&checked([Picture::filled(64, 64, [9; 3])]));
        assert!(flat.refused && flat.reasons[0].contains("0.png shows one flat surface"), "{flat:?}");

        let few = check_pictures(&checked((0..5).map(|seed| scene(320, 240, seed))));
        assert!(!few.refused && few.warnings[0].starts_with("only 5 pictures"), "{few:?}");

        let mut many: Vec<Picture> = (0..40).map(|seed| scene(160, 120, seed)).collect();
        assert_eq!(check_pictures(&checked(many.clone())), UsabilityReport::default());
        many.push(many[0].clone());
        many.push(noise(160, 120, 99));
        let mostly = check_pictures(&checked(many.clone()));
        assert_eq!(
            (mostly.refused, mostly.unusable.clone(), mostly.warnings.len()),
            (false, vec![41], 2),
            "{mostly:?}"
        );
        many.extend((0..9).map(|seed| noise(160, 120, seed)));
        let mixed = check_pictures(&checked(many));
        assert!(mixed.refused && mixed.reasons.len() == 10, "{mixed:?}");
    }
}
