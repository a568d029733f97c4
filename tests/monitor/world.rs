//! Synthetic street by day and by night, in the weathers of the pattern source and with effects of lens and sensor.

use std::cell::RefCell;

use lookout::camera::pattern::{Scene, Truth, Weather as Air};
use lookout::frame::Picture;

/// Columns and rows.
pub const SIZE: (usize, usize) = (320, 180);
/// Seed of the monitored street.
const SEED: u64 = 7;

/// Effect of weather, lens or sensor on a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weather {
    Clear,
    Fog,
    Rain,
    /// The sensor's gain is high.
    Noise,
    /// Contrast is low.
    Flat,
    /// Contrast is too high.
    Harsh,
}

/// Darkness at `second` of the day, 0 to 1: full night from 20 to 6 h, one hour of dusk and of dawn.
pub fn darkness(second: i64) -> f32 {
    let hour = second.rem_euclid(86_400) as f32 / 3600.0;
    let up = (hour - 6.0).clamp(0.0, 1.0);
    let down = (20.0 - hour).clamp(0.0, 1.0);
    1.0 - up.min(down)
}

/// The street at `second`, with the traffic of that second.
pub fn street(second: i64, weather: Weather) -> Picture {
    lit_street(second, darkness(second), weather)
}

/// The street with the traffic of `second` at a given darkness.
pub fn lit_street(second: i64, darkness: f32, weather: Weather) -> Picture {
    let air =
        Air { darkness, rain: f32::from(weather == Weather::Rain), fog: f32::from(weather == Weather::Fog), cap: 0.0 };
    let mut picture = film(second, air);
    let mut random = second as u32 | 1;
    picture.data.iter_mut().for_each(|value| *value = spoil(*value, weather, &mut random));
    picture
}

/// The cap is on the lens.
pub fn covered(second: i64) -> Picture {
    film(second, Air { cap: 1.0, ..Air::DAY })
}

fn film(second: i64, air: Air) -> Picture {
    filmed(second, air).0
}

/// The street at `second` in this air, and its objects.
pub fn filmed(second: i64, air: Air) -> (Picture, Vec<Truth>) {
    thread_local! {
        static SCENE: RefCell<Scene> = RefCell::new(Scene::new(SEED, SIZE.0, SIZE.1));
    }
    SCENE.with_borrow_mut(|scene| {
        scene.set_weather(air);
        scene.set_rate(1.0);
        scene.frame(second.unsigned_abs())
    })
}

/// Another street by day.
pub fn other_street(seed: u64, second: i64) -> Picture {
    let mut scene = Scene::new(seed, SIZE.0, SIZE.1);
    scene.set_rate(1.0);
    scene.frame(second.unsigned_abs()).0
}

/// Sensor noise: approximately normal with standard deviation 1.
pub fn deviate(random: &mut u32) -> f32 {
    let mut sum = 0.0;
    for _ in 0..3 {
        *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        sum += (*random >> 16) as f32 / 65_536.0 - 0.5;
    }
    2.0 * sum
}

/// A value after the effect of a sensor or its settings.
pub fn spoil(value: u8, weather: Weather, random: &mut u32) -> u8 {
    let x = f32::from(value);
    let spoiled = match weather {
        Weather::Clear | Weather::Fog | Weather::Rain => return value,
        Weather::Noise => x + 25.0 * deviate(random),
        Weather::Flat => 0.3 * x + 90.0,
        Weather::Harsh => (x - 100.0) * 3.0 + 100.0,
    };
    spoiled.clamp(0.0, 255.0) as u8
}
