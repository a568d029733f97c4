//! Weather: night, rain, fog and covered lens as shares, and a timetable of changes.
//!
//! In: names, shares and times. Out: [`Weather`], four shares from 0 to 1 that control the rendering.

use crate::error::{Error, Kind, Result};

/// The weather; every share from 0 (none) to 1 (full).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    /// Nightfall: 0 day, 1 night with streetlights.
    pub darkness: f32,
    /// Rain: streaks, no shadows, less contrast.
    pub rain: f32,
    /// Fog: at 1 the visibility is about fifty metres.
    pub fog: f32,
    /// Covered lens: 1 is opaque.
    pub cap: f32,
}

impl Weather {
    /// Names of weathers.
    pub const NAMES: [&'static str; 5] = ["day", "night", "rain", "fog", "cap"];

    /// A clear day.
    pub const DAY: Self = Self { darkness: 0.0, rain: 0.0, fog: 0.0, cap: 0.0 };

    /// The weather of a name: one of [`Weather::NAMES`].
    ///
    /// # Errors
    /// [`Kind::Usage`] for another name, with the list of names.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "day" => Ok(Self::DAY),
            "night" => Ok(Self { darkness: 1.0, ..Self::DAY }),
            "rain" => Ok(Self { rain: 1.0, ..Self::DAY }),
            "fog" => Ok(Self { fog: 1.0, ..Self::DAY }),
            "cap" => Ok(Self { cap: 1.0, ..Self::DAY }),
            _ => {
                let text = format!("\"{name}\" is no weather; it is one of {}", Self::NAMES.join(", "));
                Err(Error::new(Kind::Usage, text))
            }
        }
    }

    /// Text of the weather: `night`, `rain 40 %` for a share, `day` if every share is 0.
    pub fn words(self) -> String {
        let words = |(name, share): (&str, f32)| match (share * 100.0).round() {
            ..5.0 => None,
            95.0.. => Some(name.to_owned()),
            percent => Some(format!("{name} {percent} %")),
        };
        let shares = [("night", self.darkness), ("rain", self.rain), ("fog", self.fog), ("cap", self.cap)];
        let found: Vec<String> = shares.into_iter().filter_map(words).collect();
        if found.is_empty() { "day".to_owned() } else { found.join(", ") }
    }

    /// Interpolation: `share` 0 is this weather, 1 is `other`.
    pub fn towards(self, other: Self, share: f32) -> Self {
        let share = share.clamp(0.0, 1.0);
        let mix = |a: f32, b: f32| a + (b - a) * share;
        Self {
            darkness: mix(self.darkness, other.darkness),
            rain: mix(self.rain, other.rain),
            fog: mix(self.fog, other.fog),
            cap: mix(self.cap, other.cap),
        }
    }

    /// All shares clamped to 0 to 1; NaN becomes 0.
    pub(super) fn tamed(self) -> Self {
        let tame = |share: f32| if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        Self { darkness: tame(self.darkness), rain: tame(self.rain), fog: tame(self.fog), cap: tame(self.cap) }
    }

    /// Light from the sky, red, green and blue.
    pub(super) fn ambient(self) -> [f32; 3] {
        let dull = 1.0 - 0.16 * self.rain - 0.05 * self.fog;
        [0.77, 0.765, 0.68].map(|lost| dull * (1.0 - lost * self.darkness))
    }

    /// Share of fog at a distance in metres.
    pub(super) fn veil(self, distance: f32) -> f32 {
        let density = 0.042 * self.fog + 0.009 * self.rain;
        1.0 - libm::expf(-density * distance)
    }

    /// Colour of the fog.
    pub(super) fn veil_colour(self) -> [f32; 3] {
        let day = 205.0 - 32.0 * self.rain;
        let night = 46.0;
        let grey = day + (night - day) * self.darkness;
        [grey, grey * 1.005, grey * 1.02]
    }
}

/// Entry of a timetable: start, weather and duration of a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Seconds from the start.
    pub at: f64,
    /// Weather after the change.
    pub weather: Weather,
    /// Duration of the change in seconds.
    pub over: f64,
}

/// The weather at `time` seconds, by a timetable in order of time. Before the first entry it is a clear day.
pub fn at_time(timetable: &[Change], time: f64) -> Weather {
    let mut weather = Weather::DAY;
    for change in timetable.iter().take_while(|change| change.at <= time) {
        let share = if change.over > 0.0 { (time - change.at) / change.over } else { 1.0 };
        weather = weather.towards(change.weather, share as f32);
    }
    weather
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_weather() {
        for name in Weather::NAMES {
            Weather::named(name).unwrap();
        }
        assert!(Weather::named("hail").unwrap_err().message().contains("day, night, rain, fog, cap"));
    }

    #[test]
    fn conditions_are_named_and_parts_of_one_have_their_share() {
        for name in Weather::NAMES {
            assert_eq!(Weather::named(name).unwrap().words(), name);
        }
        assert_eq!(Weather { darkness: 0.42, rain: 1.0, fog: 0.01, cap: 0.0 }.words(), "night 42 %, rain");
    }

    #[test]
    fn a_timetable_changes_slowly_and_in_order() {
        let line = |at, name, over| Change { at, weather: Weather::named(name).unwrap(), over };
        let table = [line(10.0, "night", 10.0), line(30.0, "fog", 0.0)];
        assert_eq!(at_time(&table, 9.9), Weather::DAY);
        assert!((at_time(&table, 15.0).darkness - 0.5).abs() < 1e-6);
        assert_eq!(at_time(&table, 25.0).darkness, 1.0);
        assert_eq!(at_time(&table, 30.0), Weather::named("fog").unwrap());
    }

    #[test]
    fn what_is_no_share_is_made_one() {
        let wild = Weather { darkness: f32::NAN, rain: 7.0, fog: -1.0, cap: 0.5 };
        assert_eq!(wild.tamed(), Weather { darkness: 0.0, rain: 1.0, fog: 0.0, cap: 0.5 });
    }
}
