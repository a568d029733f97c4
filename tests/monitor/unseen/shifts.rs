//! The shifts, by name.
//!
//! Each is a picture by its second, and where what was at one place of the street is then.

use lookout::camera::pattern::Weather as Air;
use lookout::frame::Picture;

use super::super::world;
use super::lens;

/// Place of a box of the street in the shifted picture.
pub type Moved = fn([f32; 4]) -> [f32; 4];

/// A shift.
pub struct Shift {
    pub name: &'static str,
    /// The air that the street is filmed in.
    pub air: Air,
    pub spoil: fn(Picture, i64) -> Picture,
    /// Nothing where nobody knows.
    pub moved: Option<Moved>,
}

impl Shift {
    pub fn picture(&self, second: i64) -> Picture {
        (self.spoil)(world::filmed(second, self.air).0, second)
    }
}

const WIDTH: f32 = world::SIZE.0 as f32;
const HEIGHT: f32 = world::SIZE.1 as f32;

fn here(bbox: [f32; 4]) -> [f32; 4] {
    bbox
}

fn mirrored([left, top, right, bottom]: [f32; 4]) -> [f32; 4] {
    [WIDTH - right, top, WIDTH - left, bottom]
}

fn upside_down([left, top, right, bottom]: [f32; 4]) -> [f32; 4] {
    [WIDTH - right, HEIGHT - bottom, WIDTH - left, HEIGHT - top]
}

fn enlarged(bbox: [f32; 4]) -> [f32; 4] {
    let [left, top, right, bottom] = bbox;
    let x = |x: f32| ((x - WIDTH / 2.0) * 2.0 + WIDTH / 2.0).clamp(0.0, WIDTH);
    let y = |y: f32| ((y - HEIGHT / 2.0) * 2.0 + HEIGHT / 2.0).clamp(0.0, HEIGHT);
    [x(left), y(top), x(right), y(bottom)]
}

fn shift(name: &'static str, spoil: fn(Picture, i64) -> Picture) -> Shift {
    Shift { name, air: Air::DAY, spoil, moved: Some(here) }
}

pub fn moved(name: &'static str, moved: Option<Moved>, spoil: fn(Picture, i64) -> Picture) -> Shift {
    Shift { moved, ..shift(name, spoil) }
}

pub fn aired(name: &'static str, air: Air, spoil: fn(Picture, i64) -> Picture) -> Shift {
    Shift { air, ..shift(name, spoil) }
}

/// Everything that has been tried.
pub fn all() -> Vec<Shift> {
    let night = Air { darkness: 1.0, ..Air::DAY };
    vec![
        shift("nothing", |picture, _| picture),
        shift("defocus, sigma 1", |picture, _| lens::blurred(&picture, 1.0)),
        shift("defocus, sigma 2", |picture, _| lens::blurred(&picture, 2.0)),
        shift("defocus, sigma 4", |picture, _| lens::blurred(&picture, 4.0)),
        shift("defocus, sigma 2, with the sensor's noise", |picture, second| {
            lens::noisy(&lens::blurred(&picture, 2.0), 2.5, second)
        }),
        shift("motion blur, 9 px", |picture, _| lens::smeared(&picture, 9)),
        shift("motion blur, 21 px", |picture, _| lens::smeared(&picture, 21)),
        shift("grey by day", |picture, _| lens::grey(&picture)),
        aired("infrared night", night, |picture, second| lens::infrared(&picture, 2.4, 0.8, second)),
        shift("tungsten", |picture, _| lens::cast(&picture, [1.25, 0.9, 0.5])),
        shift("blue cast", |picture, _| lens::cast(&picture, [0.6, 0.9, 1.3])),
        shift("red and blue swapped", |picture, _| lens::each(&picture, |_, _, [r, g, b]| [b, g, r])),
        shift("pink: chroma lost", |picture, _| lens::recoloured(&picture, |_, _| (45.0, 60.0))),
        shift("green: chroma lost", |picture, _| lens::recoloured(&picture, |_, _| (-60.0, -60.0))),
        shift("no blue", |picture, _| lens::cast(&picture, [1.0, 1.0, 0.0])),
        shift("negative", |picture, _| lens::negative(&picture)),
        shift("gamma 0.45", |picture, _| lens::gamma(&picture, 0.45)),
        shift("gamma 2.2", |picture, _| lens::gamma(&picture, 2.2)),
        shift("overexposed by half", |picture, _| lens::cast(&picture, [1.5; 3])),
        shift("overexposed twofold", |picture, _| lens::cast(&picture, [2.0; 3])),
        shift("half as bright", |picture, _| lens::cast(&picture, [0.5; 3])),
        shift("salt and pepper, 2 %", |picture, second| lens::salted(&picture, 0.02, second)),
        shift("salt and pepper, 10 %", |picture, second| lens::salted(&picture, 0.1, second)),
        shift("JPEG, quality 20", |picture, _| lens::coarse(&picture, 20)),
        shift("JPEG, quality 10", |picture, _| lens::coarse(&picture, 10)),
        shift("JPEG, quality 5", |picture, _| lens::coarse(&picture, 5)),
        shift("dirt on the lens", |picture, _| lens::dirty(&picture)),
        shift("drops on the lens", |picture, _| lens::wet(&picture)),
        shift("snow", |picture, second| lens::snowed(&picture, second)),
        moved("upside down", Some(upside_down), |picture, _| lens::upside_down(picture)),
        moved("mirrored", Some(mirrored), |picture, _| lens::warped(&picture, |x, y| (WIDTH - 1.0 - x, y))),
        moved("tilted by 15 degrees", None, |picture, _| {
            let (sin, cos) = 15f32.to_radians().sin_cos();
            lens::warped(&picture, |x, y| {
                let (u, v) = (x - WIDTH / 2.0, y - HEIGHT / 2.0);
                (cos * u - sin * v + WIDTH / 2.0, sin * u + cos * v + HEIGHT / 2.0)
            })
        }),
        moved("zoomed twofold", Some(enlarged), |picture, _| lens::zoomed(&picture)),
        shift("a quarter of the resolution", |picture, _| lens::mosaic(&picture, 4)),
        shift("a quarter of the resolution, smoothed", |picture, _| lens::blurred(&lens::mosaic(&picture, 4), 1.7)),
        shift("a hand before half of it", |picture, second| lens::behind_a_hand(&picture, second)),
        shift("bands of a rolling shutter", |picture, second| lens::banded(&picture, second)),
        aired("dim lamps indoors", Air { darkness: 0.6, ..Air::DAY }, |picture, second| {
            lens::noisy(&lens::cast(&picture, [0.8, 0.6, 0.4]), 5.0, second)
        }),
        shift("low sun", |picture, _| lens::dazzled(&picture)),
        aired("rain in the dark", Air { darkness: 0.8, rain: 1.0, ..Air::DAY }, |picture, _| picture),
        moved("another street", None, |_, second| world::other_street(21, second)),
        moved("a lively other street", None, |_, second| world::other_street(9, second)),
        moved("an office", None, |_, second| office(second)),
    ]
}

/// Everyday changes for a camera that was calibrated on a full day.
pub fn mild() -> Vec<Shift> {
    let rain = |rain| Air { rain, ..Air::DAY };
    vec![
        shift("nothing", |picture, _| picture),
        shift("exposure -10 %", |picture, _| lens::cast(&picture, [0.9; 3])),
        shift("exposure +10 %", |picture, _| lens::cast(&picture, [1.1; 3])),
        shift("white balance off by 5 %", |picture, _| lens::cast(&picture, [1.05, 1.0, 0.95])),
        shift("gamma 0.9", |picture, _| lens::gamma(&picture, 0.9)),
        shift("gamma 1.1", |picture, _| lens::gamma(&picture, 1.1)),
        shift("shaken by 2 px", |picture, second| {
            let mut random = lens::Random::new(second);
            let (dx, dy) = (4.0 * random.unit() - 2.0, 4.0 * random.unit() - 2.0);
            lens::warped(&picture, |x, y| ((x + dx).clamp(0.0, WIDTH - 1.0), (y + dy).clamp(0.0, HEIGHT - 1.0)))
        }),
        shift("JPEG, quality 75", |picture, _| lens::coarse(&picture, 75)),
        shift("a little noise", |picture, second| lens::noisy(&picture, 2.0, second)),
        shift("twice the traffic", |picture, second| busier(&picture, second)),
        aired("light rain", rain(0.25), |picture, _| picture),
        aired("haze", Air { fog: 0.15, ..Air::DAY }, |picture, _| picture),
        aired("dawn", Air { darkness: 0.5, ..Air::DAY }, |picture, _| picture),
        aired("night", Air { darkness: 1.0, ..Air::DAY }, |picture, _| picture),
    ]
}

/// With everybody who is there three hours later too.
fn busier(picture: &Picture, second: i64) -> Picture {
    let others: Vec<Picture> =
        [10_800, 7201, 20_003, 31_003].map(|later| world::filmed(second + later, Air::DAY).0).into();
    lens::each(picture, |x, y, colour| {
        // The median of five is the street without anybody.
        let mut bright: Vec<(f32, [f32; 3])> =
            others.iter().map(|other| other.pixel(x, y).map(f32::from)).map(|c| (lens::luma(c), c)).collect();
        let guest = bright[0].1;
        bright.push((lens::luma(colour), colour));
        bright.sort_by(|a, b| a.0.total_cmp(&b.0));
        let empty = bright[2].1;
        let stands_out = (0..3).map(|i| (guest[i] - empty[i]).abs()).fold(0.0, f32::max) > 20.0;
        if stands_out { guest } else { colour }
    })
}

/// Walls, a desk, a window, somebody's screen: nothing that the model was made for.
pub fn office(second: i64) -> Picture {
    let mut random = lens::Random::new(second);
    let lean = 4.0 * random.unit();
    let picture = Picture::filled(world::SIZE.0, world::SIZE.1, [0; 3]);
    let picture = lens::each(&picture, |x, y, _| {
        let (x, y) = (x as f32, y as f32);
        let inside = |left: f32, top: f32, right: f32, bottom: f32| x >= left && x < right && y >= top && y < bottom;
        if inside(30.0, 20.0, 110.0, 90.0) {
            [225.0, 235.0, 245.0 - 0.2 * y]
        } else if inside(150.0 + lean, 85.0, 215.0 + lean, 125.0) {
            [60.0, 90.0, 160.0]
        } else if inside(120.0, 125.0, 300.0, 135.0) {
            [120.0, 85.0, 50.0]
        } else if inside(235.0, 60.0, 275.0, 125.0) {
            [70.0, 75.0, 72.0]
        } else if y > 150.0 {
            [95.0 + 0.1 * x, 88.0, 80.0]
        } else {
            [185.0 - 0.15 * x, 178.0 - 0.12 * x, 165.0 - 0.1 * x]
        }
    });
    lens::noisy(&picture, 2.0, second)
}

/// Those that do not need the street, for pictures of any size.
pub fn of_any_picture() -> Vec<Shift> {
    vec![
        shift("nothing", |picture, _| picture),
        shift("exposure +10 %", |picture, _| lens::cast(&picture, [1.1; 3])),
        shift("night", |picture, second| lens::noisy(&lens::cast(&picture, [0.2; 3]), 1.0, second)),
        shift("fog", |picture, _| lens::each(&picture, |_, _, colour| colour.map(|value| 0.35 * value + 130.0))),
        shift("lost contrast", |picture, _| {
            lens::each(&picture, |_, _, colour| colour.map(|value| 0.3 * value + 90.0))
        }),
        shift("noise", |picture, second| lens::noisy(&picture, 25.0, second)),
        shift("defocus, sigma 2", |picture, _| lens::blurred(&picture, 2.0)),
        shift("infrared", |picture, second| lens::infrared(&picture, 0.6, 1.1, second)),
        shift("negative", |picture, _| lens::negative(&picture)),
        shift("JPEG, quality 5", |picture, _| lens::coarse(&picture, 5)),
        shift("upside down", |picture, _| lens::upside_down(picture)),
        shift("zoomed twofold", |picture, _| lens::zoomed(&picture)),
        shift("a quarter of the resolution", |picture, _| lens::mosaic(&picture, 4)),
        shift("drops on the lens", |picture, _| lens::wet(&picture)),
    ]
}
