//! Can ranges be learned from these pictures at all?
//!
//! In: decoded pictures. Out: what each looks like in three numbers, and a [`UsabilityReport`] over all of them.
//! Nothing, one grey wall or noise would give ranges that no real scene has, and the model would fail silently: such
//! pictures are refused with the reason. Limits come from 300 road and street pictures (coarse correlation 0.57 to
//! 0.95, coarse deviation 14 to 90) and from generated noise (coarse correlation −0.02 to 0.1).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::frame::Picture;

/// Cells along the longer side when structure is looked for. Averaging over a cell removes what sensors and codecs add.
const CELLS: usize = 40;
/// Below this deviation of the cells, and [`FLAT_DEVIATION`] of the pixels, a picture shows one surface.
const FLAT_COARSE: f64 = 2.5;
/// What noise alone may add to one surface, in grey levels.
const FLAT_DEVIATION: f64 = 12.0;
/// Below this correlation of neighbouring cells there is no scene.
const NOISE_CORRELATION: f64 = 0.3;
/// With fewer pictures, ranges depend on which ones were chosen.
const FEW: usize = 32;
/// Up to one unusable picture in so many is left out; more are refused, since they are then not what was meant.
pub const TOLERATED_UNUSABLE_ONE_IN: usize = 10;

/// What a picture looks like, in grey levels (0…255).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageStructure {
    /// Standard deviation of the pixels.
    pub deviation: f64,
    /// Standard deviation of cells a fortieth of the longer side wide.
    pub coarse_deviation: f64,
    /// Correlation of neighbouring cells: near 1 in scenes, near 0 in noise.
    pub coarse_correlation: f64,
}

impl ImageStructure {
    /// Looks at `picture`. All sums are integers until the end, so the numbers are the same everywhere.
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

    /// Why nothing can be learned from it, if so.
    pub fn unusable(&self) -> Option<Unusable> {
        if self.coarse_deviation < FLAT_COARSE && self.deviation < FLAT_DEVIATION {
            return Some(Unusable::Flat { deviation: self.deviation });
        }
        if self.coarse_correlation < NOISE_CORRELATION {
            return Some(Unusable::Noise { correlation: self.coarse_correlation });
        }
        None
    }
}

/// Deviation of the cells, and mean correlation with the next one to the right and below.
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

/// Why a picture is of no use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unusable {
    /// One surface.
    Flat {
        /// Standard deviation of the pixels, in grey levels.
        deviation: f64,
    },
    /// No scene.
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

/// A picture as the verdict needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedPicture {
    /// What to call it.
    pub name: String,
    /// What it looks like.
    pub appearance: ImageStructure,
    /// [`pixel_sha256`] of it.
    pub sha256: [u8; 32],
}

impl CheckedPicture {
    /// Looks at `picture`.
    pub fn new(name: impl Into<String>, picture: &Picture) -> Self {
        Self { name: name.into(), appearance: ImageStructure::of(picture), sha256: pixel_sha256(picture) }
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

/// What a set of pictures is good for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsabilityReport {
    /// Indices of the pictures to leave out.
    pub unusable: Vec<usize>,
    /// A sentence for every one of them, and for the set as a whole, that keeps it from being used.
    pub reasons: Vec<String>,
    /// Whether calibration must not go on.
    pub refused: bool,
    /// What the owner should know all the same.
    pub warnings: Vec<String>,
}

/// Judges a set of pictures: nothing is refused, more than a tenth of flat or noisy pictures is refused, fewer are left
/// out with a warning; few pictures or many of the same are warned about.
pub fn check_pictures(pictures: &[CheckedPicture]) -> UsabilityReport {
    let mut verdict = UsabilityReport::default();
    for (at, picture) in pictures.iter().enumerate() {
        if let Some(reason) = picture.appearance.unusable() {
            verdict.unusable.push(at);
            verdict.reasons.push(format!("{} {reason}", picture.name));
        }
    }
    let usable = pictures.len() - verdict.unusable.len();
    if pictures.is_empty() {
        verdict.reasons.push("there is no picture to calibrate on".into());
    }
    verdict.refused = usable == 0 || verdict.unusable.len() * TOLERATED_UNUSABLE_ONE_IN > pictures.len();
    if verdict.refused {
        return verdict;
    }
    verdict.warnings.extend(verdict.reasons.iter().map(|reason| format!("left out: {reason}")));
    if usable < FEW {
        verdict
            .warnings
            .push(format!("only {usable} pictures: ranges from fewer than {FEW} depend on which ones were chosen"));
    }
    let mut distinct: Vec<&[u8; 32]> = pictures.iter().map(|picture| &picture.sha256).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < pictures.len() {
        let repeated = pictures.len() - distinct.len();
        verdict.warnings.push(format!("{repeated} of {} pictures repeat another one", pictures.len()));
    }
    verdict
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

    fn candidates(pictures: impl IntoIterator<Item = Picture>) -> Vec<CheckedPicture> {
        pictures
            .into_iter()
            .enumerate()
            .map(|(at, picture)| CheckedPicture::new(format!("{at}.png"), &picture))
            .collect()
    }

    #[test]
    fn scenes_pass_at_any_size() {
        for (width, height) in [(640, 480), (1242, 375), (64, 64), (240, 360)] {
            let appearance = ImageStructure::of(&scene(width, height, 1));
            assert_eq!(appearance.unusable(), None, "{appearance:?}");
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
    fn verdicts() {
        let nothing = check_pictures(&[]);
        assert!(nothing.refused && nothing.reasons[0].contains("no picture"));

        let flat = check_pictures(&candidates([Picture::filled(64, 64, [9; 3])]));
        assert!(flat.refused && flat.reasons[0].contains("0.png shows one flat surface"), "{flat:?}");

        let few = check_pictures(&candidates((0..5).map(|seed| scene(320, 240, seed))));
        assert!(!few.refused && few.warnings[0].starts_with("only 5 pictures"), "{few:?}");

        let mut many: Vec<Picture> = (0..40).map(|seed| scene(160, 120, seed)).collect();
        assert_eq!(check_pictures(&candidates(many.clone())), UsabilityReport::default());
        many.push(many[0].clone());
        many.push(noise(160, 120, 99));
        let mostly = check_pictures(&candidates(many.clone()));
        assert_eq!(
            (mostly.refused, mostly.unusable.clone(), mostly.warnings.len()),
            (false, vec![41], 2),
            "{mostly:?}"
        );
        many.extend((0..9).map(|seed| noise(160, 120, seed)));
        let mixed = check_pictures(&candidates(many));
        assert!(mixed.refused && mixed.reasons.len() == 10, "{mixed:?}");
    }
}
