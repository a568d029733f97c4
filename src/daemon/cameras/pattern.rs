//! Pattern control: the verb `pattern` sets the weather of the synthetic cameras.
//!
//! In: the settings of a pattern camera. Out: a camera that can be opened; its weather is in the table that the verb
//! writes to. `{"camera": "demo", "weather": "night"}` sets a named weather, `{"darkness": 0.5, "rain": 0.2}` a mixture.
//! `"weather": null` returns to the timetable. Without `camera` the request applies to all pattern cameras.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::camera::Open;
use crate::camera::pattern::{Change, Pattern, Scene, Weather, WeatherHandle};
use crate::clock::Clock;
use crate::config::WeatherLine;
use crate::control::{Control, answer};
use crate::error::{Error, Kind, Result};
use crate::sync::IgnorePoison;

/// The requested weather of every pattern camera, by camera name; clones share it.
#[derive(Debug, Clone, Default)]
pub struct PatternControl(Arc<Mutex<BTreeMap<String, WeatherHandle>>>);

/// Settings of a pattern camera.
pub struct PatternSettings<'a> {
    /// Seed of the scene.
    pub seed: i64,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// Frames per second.
    pub fps: f64,
    /// Weather over time.
    pub timetable: &'a [WeatherLine],
}

/// Arguments of the verb.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WeatherRequest {
    camera: Option<String>,
    weather: Option<String>,
    darkness: Option<f32>,
    rain: Option<f32>,
    fog: Option<f32>,
    cap: Option<f32>,
}

/// Answer of the verb.
#[derive(Serialize)]
struct WeatherAnswer<'a> {
    cameras: &'a [&'a String],
    weather: Option<WeatherShares>,
}

/// A weather in an answer; each share is from 0 to 1.
#[derive(Serialize)]
struct WeatherShares {
    darkness: f32,
    rain: f32,
    fog: f32,
    cap: f32,
}

impl WeatherRequest {
    fn parse(args: Value) -> Result<Self> {
        let args = if args.is_null() { json!({}) } else { args };
        let request: Self = serde_json::from_value(args).map_err(|error| {
            let text = "pattern takes camera, and weather (day, night, rain, fog, cap or null) or shares from 0 to 1 of \
                        darkness, rain, fog and cap";
            Error::new(Kind::Usage, text).because(error)
        })?;
        if request.shares().iter().flatten().any(|share| !(0.0..=1.0).contains(share)) {
            return Err(Error::new(Kind::Usage, "darkness, rain, fog and cap are shares from 0 to 1"));
        }
        Ok(request)
    }

    fn shares(&self) -> [Option<f32>; 4] {
        [self.darkness, self.rain, self.fog, self.cap]
    }

    /// The requested weather; `None` returns to the timetable.
    fn weather(&self) -> Result<Option<Weather>> {
        match &self.weather {
            Some(name) => Weather::named(name).map(Some),
            None if self.shares().iter().all(Option::is_none) => Ok(None),
            None => {
                let [darkness, rain, fog, cap] = self.shares().map(Option::unwrap_or_default);
                Ok(Some(Weather { darkness, rain, fog, cap }))
            }
        }
    }
}

impl PatternControl {
    /// Adds the pattern camera `name`. Returns the function that opens it.
    ///
    /// # Errors
    ///
    /// As [`Weather::named`], for the timetable.
    pub fn add(&self, name: &str, settings: &PatternSettings<'_>, clock: &Arc<dyn Clock>) -> Result<Open> {
        let weather_handle = WeatherHandle::default();
        self.lock().insert(name.to_owned(), weather_handle.clone());
        let changes = settings.timetable.iter().map(|line| {
            let weather = Weather::named(line.weather.name())?;
            Ok(Change { at: line.at.as_secs_f64(), weather, over: line.over.as_secs_f64() })
        });
        let (timetable, clock) = (changes.collect::<Result<Vec<_>>>()?, clock.clone());
        let [width, height] = settings.size.map(|side| side as usize);
        let (seed, fps) = (settings.seed.cast_unsigned(), settings.fps);
        Ok(Box::new(move || {
            let scene = Scene::new(seed, width, height);
            Ok(Box::new(Pattern::new(scene, fps, timetable.clone(), weather_handle.clone(), clock.clone())))
        }))
    }

    /// Registers the verb if there is a pattern camera.
    pub fn register(&self, control: &Control) {
        if !self.lock().is_empty() {
            let pattern = self.clone();
            control.register("pattern", move |args| pattern.set_weather(args));
        }
    }

    /// Weather of the newest frame of `camera`; none if it is no pattern camera.
    pub fn weather(&self, camera: &str) -> Option<Weather> {
        self.lock().get(camera).map(WeatherHandle::shown)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, WeatherHandle>> {
        self.0.lock().ignore_poison()
    }

    /// Handles the verb.
    fn set_weather(&self, args: Value) -> Result<Value> {
        let request = WeatherRequest::parse(args)?;
        let weather = request.weather()?;
        let weather_handles = self.lock();
        let selected: Vec<&String> = match &request.camera {
            Some(camera) if !weather_handles.contains_key(camera) => {
                let known: Vec<&str> = weather_handles.keys().map(String::as_str).collect();
                let text = format!("\"{camera}\" is no pattern camera; there is {}", known.join(", "));
                return Err(Error::new(Kind::Usage, text));
            }
            Some(camera) => vec![camera],
            None => weather_handles.keys().collect(),
        };
        for weather_handle in selected.iter().filter_map(|camera| weather_handles.get(*camera)) {
            weather_handle.request(weather);
        }
        let weather = weather.map(|Weather { darkness, rain, fog, cap }| WeatherShares { darkness, rain, fog, cap });
        answer(&WeatherAnswer { cameras: &selected, weather })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_verb_sets_weather_and_returns_to_the_timetable() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let pattern = PatternControl::default();
        for name in ["a", "b"] {
            let settings = PatternSettings { seed: 1, size: [64, 48], fps: 15.0, timetable: &[] };
            drop(pattern.add(name, &settings, &clock).unwrap());
        }
        let (a, b) = {
            let weather_handles = pattern.lock();
            (weather_handles["a"].clone(), weather_handles["b"].clone())
        };
        let control = Control::default();
        pattern.register(&control);
        control.call("pattern", json!({"camera": "a", "weather": "night"})).unwrap();
        assert_eq!((a.requested(), b.requested()), (Some(Weather::named("night").unwrap()), None));
        control.call("pattern", json!({"rain": 0.5})).unwrap();
        assert_eq!(b.requested(), Some(Weather { rain: 0.5, ..Weather::DAY }));
        control.call("pattern", Value::Null).unwrap();
        assert_eq!((a.requested(), b.requested()), (None, None));
        for wrong in [json!({"camera": "c"}), json!({"weather": "hail"}), json!({"fog": 2}), json!({"wind": 1})] {
            assert_eq!(control.call("pattern", wrong).unwrap_err().kind(), Kind::Usage);
        }
    }
}
