//! A street by day and by night, in any weather.

use lookout::frame::Picture;

/// Columns and rows.
pub const SIZE: (usize, usize) = (128, 96);

/// What the weather or the lens does to a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weather {
    Clear,
    /// Everything fades into grey.
    Fog,
    /// The sensor's gain is far up.
    Noise,
    /// Little is left between dark and light.
    Flat,
    /// Too much of it.
    Harsh,
}

/// How light it is at `second` of the day, 0 to 1: dark from 20 to 6, an hour of dusk and dawn.
pub fn daylight(second: i64) -> f64 {
    let hour = second.rem_euclid(86_400) as f64 / 3600.0;
    let up = ((hour - 6.0) / 1.0).clamp(0.0, 1.0);
    let down = ((20.0 - hour) / 1.0).clamp(0.0, 1.0);
    0.14 + 0.86 * up.min(down)
}

/// The street at `second`: sky, houses, a road and the traffic on it, with the sensor's noise.
pub fn street(second: i64, weather: Weather) -> Picture {
    let light = daylight(second);
    lit_street(second, light, weather)
}

/// The street at `second` under light of a strength.
pub fn lit_street(second: i64, light: f64, weather: Weather) -> Picture {
    let (width, height) = SIZE;
    let mut state = (second as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    // Where the traffic is, and its colours.
    let cars: Vec<[f64; 6]> = (0..4)
        .map(|lane| {
            let x = random() * 1.2 - 0.1;
            [x, 0.58 + 0.09 * f64::from(lane), 0.1 + 0.08 * random(), random(), random(), random()]
        })
        .collect();
    let wobble = 0.92 + 0.16 * random();
    let mut picture = Picture::filled(width, height, [0; 3]);
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f64 / width as f64, y as f64 / height as f64);
            let mut colour = match () {
                () if v < 0.35 => [0.55 + 0.3 * v, 0.7 + 0.2 * v, 0.95],
                () if v < 0.55 => {
                    let house = ((u * 7.0) as usize * 37 % 5) as f64 / 5.0;
                    let window = ((u * 28.0) as usize + (v * 40.0) as usize).is_multiple_of(3);
                    let wall = 0.3 + 0.4 * house;
                    if window { [0.2, 0.22, 0.3] } else { [wall, wall * 0.8, wall * 0.7] }
                }
                () => {
                    let mark = (v - 0.77).abs() < 0.01 && (u * 10.0) as usize % 2 == 0;
                    if mark { [0.9; 3] } else { [0.35 + 0.1 * v; 3] }
                }
            };
            for &[cx, cy, size, r, g, b] in &cars {
                let (dx, dy) = ((u - cx) / size, (v - cy) / (size * 0.6));
                if dx.abs() < 0.5 && dy.abs() < 0.5 {
                    colour = if dy > 0.3 { [0.05; 3] } else { [r, g, b] };
                }
            }
            let lamp = cars.iter().any(|&[cx, cy, size, ..]| (u - cx - size * 0.5).hypot(v - cy) < 0.012);
            for (channel, value) in colour.into_iter().enumerate() {
                let mut value = value * light * wobble;
                if lamp && light < 0.5 {
                    value = 0.95;
                }
                value = match weather {
                    Weather::Clear | Weather::Noise => value,
                    Weather::Fog => 0.25 * value + 0.75 * 0.72 * light,
                    Weather::Flat => 0.3 * value + 0.35,
                    Weather::Harsh => (value - 0.4) * 3.0 + 0.4,
                };
                let noise =
                    (random() + random() + random() - 1.5) * if weather == Weather::Noise { 0.3 } else { 0.012 };
                let level = ((value + noise) * 255.0).clamp(0.0, 255.0);
                picture.data[(y * width + x) * 3 + channel] = level as u8;
            }
        }
    }
    picture
}
