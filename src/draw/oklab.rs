//! Conversion from Oklab, a perceptually uniform colour space (Björn Ottosson, 2020), to sRGB.

use super::Colour;

/// sRGB colour of lightness (0 to 1), chroma and hue (degrees). `None` outside the sRGB gamut.
pub(super) fn from_polar(lightness: f64, chroma: f64, hue: f64) -> Option<Colour> {
    const SLACK: f64 = 1e-4;
    let (sin, cos) = hue.to_radians().sin_cos();
    let (a, b) = (chroma * cos, chroma * sin);
    let long = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let medium = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let short = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let linear = [
        4.076_741_662_1 * long - 3.307_711_591_3 * medium + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * medium - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * medium + 1.707_614_701_0 * short,
    ];
    let shown = linear.iter().all(|value| (-SLACK..=1.0 + SLACK).contains(value));
    shown.then(|| linear.map(encode))
}

/// Nearest colour in the sRGB gamut with the same lightness and hue: chroma is reduced as far as necessary.
pub(super) fn clipped_to_gamut(lightness: f64, chroma: f64, hue: f64) -> Colour {
    const STEPS: u32 = 128;
    let grey = [encode(lightness.powi(3)); 3];
    (1..=STEPS)
        .rev()
        .find_map(|step| from_polar(lightness, chroma * f64::from(step) / f64::from(STEPS), hue))
        .unwrap_or(grey)
}

/// sRGB transfer function: linear light to a level of 0 to 255.
fn encode(linear: f64) -> u8 {
    let linear = linear.clamp(0.0, 1.0);
    let value = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (value * 255.0).round() as u8
}

/// CIE relative luminance, 0 to 1.
pub(super) fn luminance(colour: Colour) -> f64 {
    let decode = |level: u8| {
        let value = f64::from(level) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = colour.map(decode);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_come_out() {
        assert_eq!(clipped_to_gamut(0.0, 0.0, 0.0), [0; 3]);
        assert_eq!(clipped_to_gamut(1.0, 0.0, 0.0), [255; 3]);
        // sRGB red is L 0.62796, C 0.25768, h 29.234.
        let red = clipped_to_gamut(0.627_96, 0.257_68, 29.234);
        assert!(red[0] >= 253 && red[1] <= 10 && red[2] <= 10, "{red:?}");
        assert!(from_polar(0.5, 0.5, 180.0).is_none());
    }

    #[test]
    fn luminance_is_weighted() {
        assert!((luminance([255; 3]) - 1.0).abs() < 1e-9);
        assert!(luminance([0, 255, 0]) > luminance([255, 0, 0]));
    }
}
