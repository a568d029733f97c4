//! Colour maps.
//!
//! Both maps are built in Oklab and perceptually uniform. Lightness alone gives the order, so they also work in greyscale
//! and for colour-blind readers.

use std::sync::OnceLock;

use super::{Colour, oklab};

/// A scale of 256 colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColourMap {
    /// Dark violet through green to light yellow, for non-negative values.
    Sequential,
    /// Blue through near-white to red, for signed values with 0 in the middle.
    Diverging,
}

type Table = [Colour; 256];

impl ColourMap {
    /// The colour at `place`, clamped to 0 to 1. NaN is grey.
    pub fn colour(self, place: f32) -> Colour {
        if place.is_nan() {
            return [128; 3];
        }
        self.table()[(place.clamp(0.0, 1.0) * 255.0).round() as usize]
    }

    fn table(self) -> &'static Table {
        static SEQUENTIAL: OnceLock<Table> = OnceLock::new();
        static DIVERGING: OnceLock<Table> = OnceLock::new();
        match self {
            Self::Sequential => SEQUENTIAL.get_or_init(|| build(sequential)),
            Self::Diverging => DIVERGING.get_or_init(|| build(diverging)),
        }
    }
}

fn build(colour: impl Fn(f64) -> Colour) -> Table {
    std::array::from_fn(|index| colour(index as f64 / 255.0))
}

/// Lightness rises linearly while the hue turns from violet (300°) through blue and green to yellow (105°).
fn sequential(place: f64) -> Colour {
    oklab::clipped_to_gamut(0.22 + 0.72 * place, 0.11 + 0.08 * place, 300.0 - 195.0 * place)
}

/// Lightness falls and chroma rises with the distance from the middle.
fn diverging(place: f64) -> Colour {
    let distance = (2.0 * place - 1.0).abs();
    let hue = if place < 0.5 { 255.0 } else { 28.0 };
    oklab::clipped_to_gamut(0.965 - 0.52 * distance, 0.19 * distance, hue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lightness_tells_the_order() {
        let lightness = |map: ColourMap, index: usize| oklab::luminance(map.table()[index]);
        for index in 1..256 {
            let step = lightness(ColourMap::Sequential, index) - lightness(ColourMap::Sequential, index - 1);
            assert!(step > -2e-3, "sequential at {index}: {step}");
            let step = lightness(ColourMap::Diverging, index) - lightness(ColourMap::Diverging, index - 1);
            let rising = if index < 128 { step } else { -step };
            assert!(rising > -2e-3, "diverging at {index}: {step}");
        }
        assert!(lightness(ColourMap::Sequential, 255) > 0.7);
        assert!(lightness(ColourMap::Sequential, 0) < 0.03);
    }

    #[test]
    fn neighbours_look_alike() {
        for map in [ColourMap::Sequential, ColourMap::Diverging] {
            for pair in map.table().windows(2) {
                let step = pair[0].iter().zip(&pair[1]).map(|(&a, &b)| a.abs_diff(b)).max();
                assert!(step <= Some(16), "{map:?}: {pair:?}");
            }
        }
    }

    #[test]
    fn places_outside_take_the_end() {
        assert_eq!(ColourMap::Sequential.colour(-3.0), ColourMap::Sequential.colour(0.0));
        assert_eq!(ColourMap::Diverging.colour(f32::INFINITY), ColourMap::Diverging.colour(1.0));
        assert_eq!(ColourMap::Diverging.colour(f32::NAN), [128; 3]);
    }
}
