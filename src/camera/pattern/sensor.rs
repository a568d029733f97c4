//! Effects of weather and sensor: rain, covered lens, noise.
//!
//! In: a composed picture, the weather, the frame's number. Out: the degraded picture. Noise is read from tables at offsets
//! drawn for each row, so a frame costs one pass of additions.

use std::sync::OnceLock;

use super::random::Random;
use super::weather::Weather;

/// Length of a noise table; a prime, so that rows do not align.
const LENGTH: usize = 65_521;

/// Noise tables with a standard deviation of 1, 2, … grey levels.
const LEVELS: usize = 12;

/// Adds noise with a standard deviation of about `level` grey levels.
fn table(level: usize) -> &'static [i8] {
    static TABLES: [OnceLock<Vec<i8>>; LEVELS] = [const { OnceLock::new() }; LEVELS];
    let level = level.clamp(1, LEVELS);
    TABLES[level - 1].get_or_init(|| {
        let mut random = Random::keyed(0x5e45, &[level as u64]);
        // A sum of four uniform numbers has a standard deviation of 1/√3 of half its range.
        let mut normal = || (0..4).map(|_| random.unit() - 0.5).sum::<f32>() * 1.732;
        (0..LENGTH).map(|_| (normal() * level as f32).round().clamp(-127.0, 127.0) as i8).collect()
    })
}

/// Streaks of rain.
pub(super) fn rain(data: &mut [u8], width: usize, height: usize, weather: Weather, seed: u64, number: u64) {
    let area = (width * height) as f32;
    let drops = (weather.rain * area / 1500.0) as usize;
    let mut random = Random::keyed(seed, &[60, number]);
    let slant = Random::keyed(seed, &[61]).range(-0.35, 0.35);
    let unit = height as f32 / 360.0;
    let tone = 214.0 - 120.0 * weather.darkness;
    for _ in 0..drops {
        let (x, y) = (random.range(-8.0, width as f32 + 8.0), random.range(-20.0, height as f32));
        let length = (random.range(6.0, 22.0) * unit).max(2.0);
        let alpha = random.range(0.08, 0.3);
        for step in 0..length as i64 {
            let row = y as i64 + step;
            let column = (x + slant * step as f32).floor() as i64;
            if (0..height as i64).contains(&row) && (0..width as i64).contains(&column) {
                let at = (row as usize * width + column as usize) * 3;
                for value in &mut data[at..at + 3] {
                    *value = (f32::from(*value) + (tone - f32::from(*value)) * alpha) as u8;
                }
            }
        }
    }
}

/// Covered lens.
pub(super) fn cap(data: &mut [u8], weather: Weather) {
    if weather.cap <= 0.0 {
        return;
    }
    let keep = ((1.0 - weather.cap * 0.988) * 256.0) as u32;
    for value in data {
        *value = ((u32::from(*value) * keep) >> 8) as u8;
    }
}

/// Adds noise that increases in low light.
pub(super) fn noise(data: &mut [u8], width: usize, weather: Weather, seed: u64, number: u64) {
    let base = Random::keyed(seed, &[62]).range(1.0, 3.5);
    let level = base + 4.5 * weather.darkness + 1.0 * weather.rain + 2.0 * weather.cap;
    let noise = table(level.round() as usize);
    let mut random = Random::keyed(seed, &[63, number]);
    for row in data.chunks_mut(width * 3) {
        let mut offset = random.below(LENGTH);
        let mut rest = row;
        while !rest.is_empty() {
            let count = rest.len().min(LENGTH - offset);
            let (now, later) = rest.split_at_mut(count);
            for (value, &noise) in now.iter_mut().zip(&noise[offset..offset + count]) {
                *value = value.saturating_add_signed(noise);
            }
            rest = later;
            offset = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_its_level_and_no_offset() {
        for level in [1, 3, 8] {
            let noise = table(level);
            let mean = noise.iter().map(|&n| f32::from(n)).sum::<f32>() / LENGTH as f32;
            let square = noise.iter().map(|&n| f32::from(n) * f32::from(n)).sum::<f32>() / LENGTH as f32;
            assert!(mean.abs() < 0.1 && (square.sqrt() / level as f32 - 1.0).abs() < 0.1, "{level}: {mean} {square}");
        }
    }

    #[test]
    fn a_cap_darkens_everything() {
        let mut data = vec![255u8; 30];
        cap(&mut data, Weather::named("cap").unwrap());
        assert!(data.iter().all(|&value| value < 5));
    }
}
