//! Poisoned frames by name: frames that show no street.

use std::f32::consts::TAU;

use lookout::camera::pattern::Weather as Air;
use lookout::frame::Picture;

use super::super::world;
use super::lens;
use super::shifts::{self, Shift};

/// Frames by their number, a minute apart.
pub struct Poison {
    pub name: &'static str,
    pub frame: Box<dyn Fn(usize) -> Picture>,
}

impl Poison {
    /// A shift as all that the camera shows.
    pub fn of(shift: Shift) -> Self {
        Self { name: shift.name, frame: Box::new(move |at| shift.picture(second(at))) }
    }
}

/// The clear street in that minute.
fn clear(at: usize) -> Picture {
    world::filmed(second(at), Air::DAY).0
}

fn second(at: usize) -> i64 {
    10 * 3600 + 60 * at as i64
}

fn blank(f: impl Fn(usize, usize) -> [f32; 3]) -> Picture {
    lens::each(&Picture::filled(world::SIZE.0, world::SIZE.1, [0; 3]), |x, y, _| f(x, y))
}

/// From `row` on, `other`.
fn joined(picture: &Picture, other: &Picture, row: usize) -> Picture {
    let mut out = picture.clone();
    let from = row * out.width * 3;
    out.data[from..].copy_from_slice(&other.data[from..]);
    out
}

/// Bars of colour and a ramp below.
fn test_card(at: usize) -> Picture {
    let card = blank(|x, y| {
        let bar = 7 - x * 8 / world::SIZE.0;
        if y < world::SIZE.1 * 3 / 4 {
            [2, 4, 1].map(|bit| if bar & bit != 0 { 191.0 } else { 0.0 })
        } else {
            [x as f32 * 255.0 / world::SIZE.0 as f32; 3]
        }
    });
    lens::noisy(&card, 2.0, at as i64)
}

/// Blocks of 16 by 16 pixels, each flat, or a ramp, or moved from elsewhere; this share of them undecoded.
fn garbage(picture: &Picture, at: usize, from: usize, green: f32) -> Picture {
    let mut random = lens::Random::new(at as i64);
    let (width, height) = (picture.width, picture.height);
    let columns = width.div_ceil(16);
    let blocks: Vec<[f32; 5]> = (0..columns * height.div_ceil(16)).map(|_| [0; 5].map(|_| random.unit())).collect();
    lens::each(picture, |x, y, colour| {
        let [kind, r, g, b, slope] = blocks[y / 16 * columns + x / 16];
        if y < from {
            colour
        } else if kind < green {
            [0.0, 135.0, 0.0]
        } else if kind < 0.7 {
            [r, g, b].map(|value| 255.0 * value)
        } else if kind < 0.85 {
            [r, g, b].map(|value| 255.0 * value + (slope - 0.5) * 40.0 * (x % 16) as f32)
        } else {
            let (u, v) = ((x + (r * 200.0) as usize) % width, (y + (g * 100.0) as usize) % height);
            picture.pixel(u, v).map(f32::from)
        }
    })
}

/// Clouds of every size and colour: noise, but as smooth as a scene.
fn clouds(at: usize) -> Picture {
    let mut random = lens::Random::new(at as i64);
    let waves: Vec<[f32; 6]> = (0..24).map(|_| [0; 6].map(|_| random.unit())).collect();
    blank(|x, y| {
        let mut sum = [128.0; 3];
        for (number, [u, v, phase, r, g, b]) in waves.iter().enumerate() {
            let frequency = 0.01 * (1.0 + number as f32);
            let wave = ((x as f32 * (u - 0.5) + y as f32 * (v - 0.5)) * TAU * frequency + phase * TAU).sin();
            let strength = 160.0 / (1.0 + number as f32);
            sum = [sum[0] + wave * strength * r, sum[1] + wave * strength * g, sum[2] + wave * strength * b];
        }
        sum
    })
}

/// Another street on a screen: framed, dim, blue, with a moiré.
fn screen(at: usize) -> Picture {
    let shown = world::other_street(21, second(at));
    let shown = lens::each(&shown, |x, y, colour| {
        let framed = !(30..290).contains(&x) || !(15..160).contains(&y);
        let moire = 1.0 + 0.15 * (x as f32 * 1.9).sin() * (y as f32 * 2.1).sin();
        if framed { [22.0, 22.0, 24.0] } else { [0, 1, 2].map(|i| colour[i] * [0.6, 0.75, 1.0][i] * moire) }
    });
    lens::noisy(&shown, 3.0, at as i64)
}

fn clock(at: usize) -> Picture {
    let mut picture = clear(0);
    for digit in 0..6 {
        let lit = (at * 7 + digit * 3 + at / 3) % 10;
        for y in 8..22 {
            for x in 0..8 {
                let on = (x * 3 + y * 5 + lit * 11) % 7 < 3;
                let place = (y * picture.width + 12 + digit * 10 + x) * 3;
                picture.data[place..place + 3].fill(if on { 255 } else { 0 });
            }
        }
    }
    picture
}

/// All poisons.
pub fn all() -> Vec<Poison> {
    let poison = |name, frame: fn(usize) -> Picture| Poison { name, frame: Box::new(frame) };
    vec![
        poison("a test card", test_card),
        poison("upside down", |at| lens::upside_down(clear(at))),
        poison("half green and garbage", |at| garbage(&clear(at), at, world::SIZE.1 / 2, 0.45)),
        poison("all garbage", |at| garbage(&clear(at), at, 0, 0.45)),
        poison("garbage without green", |at| garbage(&clear(at), at, 0, 0.0)),
        poison("half of another frame", |at| joined(&clear(at), &clear(at + 200), 93)),
        poison("half of a frame of the night", |at| {
            joined(&clear(at), &world::lit_street(second(at), 1.0, world::Weather::Clear), 93)
        }),
        poison("frozen but for the sensor", |at| lens::noisy(&clear(0), 2.5, at as i64)),
        poison("frozen but for a clock", clock),
        poison("a checkerboard", |at| {
            let board = blank(|x, y| [if (x / 20 + y / 20) % 2 == 0 { 235.0 } else { 20.0 }; 3]);
            lens::noisy(&board, 2.5, at as i64)
        }),
        poison("stripes", |at| {
            let stripes = blank(|x, y| [if (x + y / 2 + 3 * at) % 30 < 15 { 235.0 } else { 20.0 }; 3]);
            lens::noisy(&stripes, 2.5, at as i64)
        }),
        poison("fine stripes", |at| {
            let stripes = blank(|x, _| [if (x + at) % 4 < 2 { 235.0 } else { 20.0 }; 3]);
            lens::noisy(&stripes, 2.5, at as i64)
        }),
        poison("a ramp", |at| {
            lens::noisy(&blank(|x, y| [x as f32 * 0.7, y as f32 * 1.2, 120.0 - 0.2 * x as f32]), 2.5, at as i64)
        }),
        poison("clouds of colour", clouds),
        poison("a strobe", |at| {
            world::lit_street(second(at), if at % 2 == 0 { 0.0 } else { 1.0 }, world::Weather::Clear)
        }),
        poison("a strobe of gain", |at| lens::cast(&clear(at), [if at % 2 == 0 { 1.6 } else { 0.15 }; 3])),
        poison("another street on a screen", screen),
        poison("an office", |at| shifts::office(at as i64)),
        poison("only black and white", |at| {
            lens::each(&clear(at), |_, _, colour| [if lens::luma(colour) > 100.0 { 255.0 } else { 0.0 }; 3])
        }),
        poison("only pure colours", |at| {
            lens::each(&clear(at), |_, _, colour| colour.map(|value| if value > 100.0 { 255.0 } else { 0.0 }))
        }),
        poison("negative", |at| lens::negative(&clear(at))),
        poison("no blue", |at| lens::cast(&clear(at), [1.0, 1.0, 0.0])),
        poison("no green", |at| lens::cast(&clear(at), [1.0, 0.0, 1.0])),
        poison("pink", |at| lens::recoloured(&clear(at), |_, _| (45.0, 60.0))),
        poison("green", |at| lens::recoloured(&clear(at), |_, _| (-60.0, -60.0))),
        poison("half burnt out", |at| lens::each(&clear(at), |_, _, colour| colour.map(|value| 2.3 * value))),
        poison("out of focus", |at| lens::blurred(&clear(at), 4.0)),
        poison("salt and pepper", |at| lens::salted(&clear(at), 0.15, at as i64)),
    ]
}

/// One frame in this many is the poison, the others are clear.
pub fn mixed(poison: &Poison, one_in: usize, at: usize) -> Picture {
    if at % one_in == one_in / 2 { (poison.frame)(at) } else { clear(at) }
}
