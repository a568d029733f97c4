//! Pattern source: frames of a scene at a rate, with the weather set by a timetable or a command.
//!
//! In: a seed, a size, a rate, a timetable. Out: images through [`Source`]. Another thread can override the weather through
//! a [`WeatherHandle`] until the override is cleared.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::Scene;
use super::weather::{Change, Weather, at_time};
use crate::camera::{Capture, Source};
use crate::clock::Clock;
use crate::error::Result;
use crate::stop::Stop;
use crate::sync::IgnorePoison;

/// Weather of one camera, shared between the camera and its control.
#[derive(Debug, Clone, Default)]
pub struct WeatherHandle(Arc<Mutex<WeatherState>>);

#[derive(Debug, Clone, Copy, Default)]
struct WeatherState {
    requested: Option<Weather>,
    shown: Weather,
}

impl WeatherHandle {
    /// Overrides the weather. `None` returns to the timetable.
    pub fn request(&self, weather: Option<Weather>) {
        self.lock().requested = weather;
    }

    /// The override.
    pub fn requested(&self) -> Option<Weather> {
        self.lock().requested
    }

    /// Weather of the newest frame.
    pub fn shown(&self) -> Weather {
        self.lock().shown
    }

    fn lock(&self) -> MutexGuard<'_, WeatherState> {
        self.0.lock().ignore_poison()
    }
}

/// A camera of a synthetic street.
pub struct Pattern {
    scene: Scene,
    timetable: Vec<Change>,
    weather_handle: WeatherHandle,
    clock: Arc<dyn Clock>,
    period: Duration,
    number: u64,
    due_ns: Option<u64>,
}

impl Pattern {
    /// Renders `scene` with `rate` frames a second. The weather is that of `timetable` unless `weather_handle` overrides it.
    pub fn new(
        mut scene: Scene,
        rate: f64,
        timetable: Vec<Change>,
        weather_handle: WeatherHandle,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let rate = if rate.is_finite() { rate.clamp(0.01, 1000.0) } else { Scene::RATE };
        scene.set_rate(rate);
        Self {
            scene,
            timetable,
            weather_handle,
            clock,
            period: Duration::from_secs_f64(1.0 / rate),
            number: 0,
            due_ns: None,
        }
    }
}

impl Source for Pattern {
    fn next(&mut self, stop: &Stop) -> Result<Capture> {
        let time = self.number as f64 * self.period.as_secs_f64();
        let weather = self.weather_handle.requested().unwrap_or_else(|| at_time(&self.timetable, time));
        self.weather_handle.lock().shown = weather;
        self.scene.set_weather(weather);
        let (picture, _) = self.scene.frame(self.number);
        self.number += 1;
        let now = self.clock.monotonic_ns();
        let due = self.due_ns.unwrap_or(now).max(now);
        if self.clock.wait(Duration::from_nanos(due - now), stop).is_err() {
            return Ok(Capture::Stopped);
        }
        self.due_ns = Some(due + self.period.as_nanos() as u64);
        Ok(Capture::Image { image: picture.into(), monotonic_ns: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::stop;

    fn brightness(camera: &mut Pattern, stop: &Stop) -> f64 {
        let Capture::Image { image, .. } = camera.next(stop).unwrap() else { panic!("no picture") };
        let data = &image.to_picture().data;
        data.iter().map(|&value| f64::from(value)).sum::<f64>() / data.len() as f64
    }

    #[test]
    fn the_weather_follows_the_timetable_until_somebody_orders_another() {
        let clock = Arc::new(SimulatedClock::default());
        let (_trigger, stop) = stop::pair();
        let weather_handle = WeatherHandle::default();
        let night = Change { at: 0.2, weather: Weather::named("night").unwrap(), over: 0.0 };
        let mut camera = Pattern::new(Scene::new(3, 64, 48), 10.0, vec![night], weather_handle.clone(), clock.clone());
        let day = brightness(&mut camera, &stop);
        brightness(&mut camera, &stop);
        let dark = brightness(&mut camera, &stop);
        assert!(dark < 0.6 * day, "{dark} {day}");
        assert_eq!(weather_handle.shown(), night.weather);
        weather_handle.request(Some(Weather::DAY));
        assert!(brightness(&mut camera, &stop) > 0.9 * day);
        weather_handle.request(None);
        assert!(brightness(&mut camera, &stop) < 0.6 * day);
        assert_eq!(clock.monotonic_ns(), 400_000_000);
    }
}
