//! Rotation and mirroring that make a camera's picture upright.

use super::Picture;

/// One of the eight orientations of a picture: a rotation by multiples of 90°, then a mirror.
///
/// Pixel (x, y) of the upright picture is pixel (u, v) of the camera's picture. To find (u, v), (x, y) is swapped if
/// `transpose`, then counted from the opposite end where mirrored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Turn {
    /// Rows become columns.
    pub transpose: bool,
    /// Columns of the camera's picture are counted from the right.
    pub mirror_x: bool,
    /// Rows of the camera's picture are counted from the bottom.
    pub mirror_y: bool,
}

/// Side of the tiles in which a picture is transposed, in pixels. Input and output of a tile fit into the first-level
/// cache.
const TILE: usize = 32;

impl Turn {
    /// No rotation and no mirror.
    pub const NONE: Self = Self { transpose: false, mirror_x: false, mirror_y: false };

    /// Rotation by `quarters` × 90° clockwise, then a horizontal or vertical flip.
    pub const fn new(quarters: u32, flip_horizontal: bool, flip_vertical: bool) -> Self {
        let transpose = quarters % 2 == 1;
        let (mut mirror_x, mut mirror_y) = match quarters % 4 {
            0 => (false, false),
            1 => (false, true),
            2 => (true, true),
            _ => (true, false),
        };
        if if transpose { flip_vertical } else { flip_horizontal } {
            mirror_x = !mirror_x;
        }
        if if transpose { flip_horizontal } else { flip_vertical } {
            mirror_y = !mirror_y;
        }
        Self { transpose, mirror_x, mirror_y }
    }

    /// Columns and rows of the upright picture, from those of the camera's.
    pub const fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.transpose { (height, width) } else { (width, height) }
    }

    /// Applies the orientation.
    pub fn apply(self, picture: Picture) -> Picture {
        if self == Self::NONE {
            return picture;
        }
        const BYTES: usize = Picture::CHANNELS;
        let (width, height) = self.size(picture.width, picture.height);
        let mut data = vec![0; picture.data.len()];
        let from_right = |u: usize| if self.mirror_x { picture.width - 1 - u } else { u };
        let from_bottom = |v: usize| if self.mirror_y { picture.height - 1 - v } else { v };
        if !self.transpose {
            for (y, out) in data.chunks_exact_mut((width * BYTES).max(1)).enumerate() {
                let row = picture.row(from_bottom(y));
                if self.mirror_x {
                    for (out, pixel) in out.chunks_exact_mut(BYTES).zip(row.chunks_exact(BYTES).rev()) {
                        out.copy_from_slice(pixel);
                    }
                } else {
                    out.copy_from_slice(row);
                }
            }
            return Picture { width, height, data };
        }
        for top in (0..height).step_by(TILE) {
            for left in (0..width).step_by(TILE) {
                for y in top..(top + TILE).min(height) {
                    let u = from_right(y);
                    for x in left..(left + TILE).min(width) {
                        let from = (from_bottom(x) * picture.width + u) * BYTES;
                        let to = (y * width + x) * BYTES;
                        data[to..to + BYTES].copy_from_slice(&picture.data[from..from + BYTES]);
                    }
                }
            }
        }
        Picture { width, height, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a picture whose pixels are letters.
    fn lettered(rows: &[&str]) -> Picture {
        let data = rows.iter().flat_map(|row| row.bytes().flat_map(|letter| [letter; 3])).collect();
        Picture::new(rows[0].len(), rows.len(), data).unwrap()
    }

    fn letters(picture: &Picture) -> Vec<String> {
        (0..picture.height)
            .map(|y| picture.row(y).chunks_exact(3).map(|pixel| char::from(pixel[0])).collect())
            .collect()
    }

    #[test]
    fn pictures_turn_clockwise_and_are_mirrored_afterwards() {
        let picture = lettered(&["abc", "def"]);
        let turned =
            |quarters, horizontal, vertical| letters(&Turn::new(quarters, horizontal, vertical).apply(picture.clone()));
        assert_eq!(turned(0, false, false), ["abc", "def"]);
        assert_eq!(turned(1, false, false), ["da", "eb", "fc"]);
        assert_eq!(turned(2, false, false), ["fed", "cba"]);
        assert_eq!(turned(3, false, false), ["cf", "be", "ad"]);
        assert_eq!(turned(0, true, false), ["cba", "fed"]);
        assert_eq!(turned(0, false, true), ["def", "abc"]);
        assert_eq!(turned(1, true, false), ["ad", "be", "cf"]);
        assert_eq!(turned(1, false, true), ["fc", "eb", "da"]);
        assert_eq!(turned(3, true, false), ["fc", "eb", "da"]);
        assert_eq!(turned(2, true, true), ["abc", "def"]);
    }

    #[test]
    fn large_pictures_turn_back_to_themselves() {
        let (width, height) = (71, 45);
        let data = (0..width * height * 3).map(|index| (index * 31 % 251) as u8).collect();
        let picture = Picture::new(width, height, data).unwrap();
        let quarter = Turn::new(1, false, false);
        let mut turned = picture.clone();
        for _ in 0..4 {
            turned = quarter.apply(turned);
        }
        assert_eq!(turned, picture);
        assert_eq!(Turn::new(3, false, false).apply(quarter.apply(picture.clone())), picture);
    }
}
