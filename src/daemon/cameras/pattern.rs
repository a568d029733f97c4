//! The weather of the synthetic cameras, by order: the control verb `pattern`.
//!
//! In: a pattern camera's settings. Out: the camera, ready to be opened, and its sky under its name in the table that
//! the verb looks into. `{"camera": "demo", "weather": "night"}` orders a weather; `{"darkness": 0.5, "rain": 0.2}` in
//! place of a name orders a mixture; `null` as the weather gives it back to the timetable. Without a camera the order is
//! for all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;
use serde_json::{Value, json};

use super::open::Open;
use crate::camera::pattern::{Change, Pattern, Scene, Sky, Weather};
use crate::clock::Clock;
use crate::config::WeatherLine;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::sync::IgnorePoison;

/// The skies of all pattern cameras, by camera; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Skies(Arc<Mutex<BTreeMap<String, Sky>>>);

/// What the verb takes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Order {
    camera: Option<String>,
    weather: Option<String>,
    darkness: Option<f32>,
    rain: Option<f32>,
    fog: Option<f32>,
    cap: Option<f32>,
}

impl Skies {
    /// How to open the pattern camera `name`.
    pub fn camera(
        &self,
        name: &str,
        (seed, size, fps): (i64, [u32; 2], f64),
        timetable: &[WeatherLine],
        clock: &Arc<dyn Clock>,
    ) -> Result<Open> {
        let sky = Sky::default();
        self.lock().insert(name.to_owned(), sky.clone());
        let changes = timetable.iter().map(|line| {
            let weather = Weather::named(line.weather.name())?;
            Ok(Change { at: line.at.as_secs_f64(), weather, over: line.over.as_secs_f64() })
        });
        let (timetable, clock) = (changes.collect::<Result<Vec<_>>>()?, clock.clone());
        let [width, height] = size.map(|side| side as usize);
        Ok(Box::new(move || {
            let scene = Scene::new(seed.cast_unsigned(), width, height);
            Ok(Box::new(Pattern::new(scene, fps, timetable.clone(), sky.clone(), clock.clone())))
        }))
    }

    /// Registers the verb, if there is a pattern camera.
    pub fn register(&self, control: &Control) {
        if !self.lock().is_empty() {
            let skies = self.clone();
            control.register("pattern", move |args| skies.obey(args));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Sky>> {
        self.0.lock().ignore_poison()
    }

    fn obey(&self, args: Value) -> Result<Value> {
        let args = if args.is_null() { json!({}) } else { args };
        let order: Order = serde_json::from_value(args).map_err(|error| {
            let text = "pattern takes camera, and weather (day, night, rain, fog, cap or null) or shares from 0 to 1 of \
                        darkness, rain, fog and cap";
            Error::new(Kind::Usage, text).because(error)
        })?;
        let shares = [order.darkness, order.rain, order.fog, order.cap];
        if shares.iter().flatten().any(|share| !(0.0..=1.0).contains(share)) {
            return Err(Error::new(Kind::Usage, "darkness, rain, fog and cap are shares from 0 to 1"));
        }
        let weather = match &order.weather {
            Some(name) => Some(Weather::named(name)?),
            None if shares.iter().all(Option::is_none) => None,
            None => {
                let [darkness, rain, fog, cap] = shares.map(Option::unwrap_or_default);
                Some(Weather { darkness, rain, fog, cap })
            }
        };
        let skies = self.lock();
        let wanted: Vec<&String> = match &order.camera {
            Some(camera) if !skies.contains_key(camera) => {
                let known: Vec<&str> = skies.keys().map(String::as_str).collect();
                let text = format!("\"{camera}\" is no pattern camera; there is {}", known.join(", "));
                return Err(Error::new(Kind::Usage, text));
            }
            Some(camera) => vec![camera],
            None => skies.keys().collect(),
        };
        for sky in wanted.iter().filter_map(|camera| skies.get(*camera)) {
            sky.order(weather);
        }
        let answer = weather.map(|weather| {
            json!({"darkness": weather.darkness, "rain": weather.rain, "fog": weather.fog, "cap": weather.cap})
        });
        Ok(json!({ "cameras": wanted, "weather": answer }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_verb_orders_weather_and_gives_it_back() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let skies = Skies::default();
        for name in ["a", "b"] {
            drop(skies.camera(name, (1, [64, 48], 15.0), &[], &clock).unwrap());
        }
        let (a, b) = {
            let skies = skies.lock();
            (skies["a"].clone(), skies["b"].clone())
        };
        let control = Control::default();
        skies.register(&control);
        control.call("pattern", json!({"camera": "a", "weather": "night"})).unwrap();
        assert_eq!((a.ordered(), b.ordered()), (Some(Weather::named("night").unwrap()), None));
        control.call("pattern", json!({"rain": 0.5})).unwrap();
        assert_eq!(b.ordered(), Some(Weather { rain: 0.5, ..Weather::DAY }));
        control.call("pattern", Value::Null).unwrap();
        assert_eq!((a.ordered(), b.ordered()), (None, None));
        for wrong in [json!({"camera": "c"}), json!({"weather": "hail"}), json!({"fog": 2}), json!({"wind": 1})] {
            assert_eq!(control.call("pattern", wrong).unwrap_err().kind(), Kind::Usage);
        }
    }
}
