//! Colours of classes.

use super::{Colour, oklab};

/// Palette of Okabe and Ito (2008) without black, which is distinguishable with the common colour vision deficiencies.
/// Successive colours differ most.
const OKABE_ITO: [Colour; 7] = [
    [0xe6, 0x9f, 0x00],
    [0x56, 0xb4, 0xe9],
    [0x00, 0x9e, 0x73],
    [0xf0, 0xe4, 0x42],
    [0xcc, 0x79, 0xa7],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x72, 0xb2],
];

/// Colour of a class. Class 0 is the background, so the first class is 1. From the eighth class on, the hue turns by the
/// golden angle and lightness alternates, so that successive classes differ in both.
pub fn class_colour(class: usize) -> Colour {
    const GOLDEN_ANGLE: f64 = 137.507_764;
    let index = class.saturating_sub(1);
    if let Some(&colour) = OKABE_ITO.get(index) {
        return colour;
    }
    let lightness = [0.80, 0.58, 0.69][index % 3];
    oklab::clipped_to_gamut(lightness, 0.16, index as f64 * GOLDEN_ANGLE % 360.0)
}

/// Black or white, whichever has the higher contrast on `background`.
pub fn ink_on(background: Colour) -> Colour {
    // The WCAG contrast ratio is (L₁ + 0.05) / (L₂ + 0.05). Both are equal at √(1.05 · 0.05) − 0.05.
    if oklab::luminance(background) > 0.179 { [0; 3] } else { [255; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_classes_have_colours_of_their_own() {
        let mut colours: Vec<_> = (1..=100).map(class_colour).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), 100);
    }

    #[test]
    fn ink_stands_out() {
        for class in 1..100 {
            let background = class_colour(class);
            let (ink, paper) = (oklab::luminance(ink_on(background)), oklab::luminance(background));
            let contrast = (ink.max(paper) + 0.05) / (ink.min(paper) + 0.05);
            assert!(contrast >= 4.5, "class {class}: {contrast}");
        }
    }
}
