//! Effects of faulty cables, drivers and settings on the street, tried after the monitor had been written.

use lookout::camera::pattern::Weather as Air;
use lookout::frame::Picture;

use super::super::world;
use super::lens;
use super::shifts::{Shift, aired, moved};

type Pixel = [f32; 3];

fn pixel(picture: &Picture, x: usize, y: usize) -> Pixel {
    picture.pixel(x % picture.width, y % picture.height).map(f32::from)
}

/// The same picture read elsewhere.
fn read(picture: &Picture, from: impl Fn(usize, usize) -> (usize, usize)) -> Picture {
    lens::each(picture, |x, y, _| {
        let (u, v) = from(x, y);
        pixel(picture, u, v)
    })
}

/// Of each row this share is the street five hours after `second`.
fn with_another(picture: &Picture, second: i64, share: impl Fn(usize) -> f32) -> Picture {
    let other = world::filmed(second + 18_000, Air::DAY).0;
    lens::each(picture, |x, y, colour| {
        let (share, other) = (share(y), pixel(&other, x, y));
        [0, 1, 2].map(|i| (1.0 - share) * colour[i] + share * other[i])
    })
}

/// YUYV taken for NV12 or the like: luma where colour belongs, and the other way round.
fn wrong_format(picture: &Picture) -> Picture {
    lens::each(picture, |x, _, colour| {
        let (luma, blue, red) = (lens::luma(colour), colour[2], colour[0]);
        if x % 2 == 0 { [red, luma, 255.0 - luma] } else { [255.0 - blue, luma * 0.5, blue] }
    })
}

/// Tiles of 40 by 36 pixels, each in another's place.
fn shuffled(picture: &Picture, second: i64) -> Picture {
    let (columns, rows) = (picture.width / 40, picture.height / 36);
    let mut tiles: Vec<usize> = (0..columns * rows).collect();
    let mut random = lens::Random::new(second);
    (1..tiles.len()).rev().for_each(|last| tiles.swap(last, (random.unit() * (last + 1) as f32) as usize % (last + 1)));
    read(picture, |x, y| {
        let tile = tiles[(y / 36).min(rows - 1) * columns + (x / 40).min(columns - 1)];
        (tile % columns * 40 + x % 40, tile / columns * 36 + y % 36)
    })
}

/// A menu of the camera itself over most of the picture.
fn menu(picture: &Picture, second: i64) -> Picture {
    lens::each(picture, |x, y, colour| {
        let (u, v) = (x.wrapping_sub(30), y.wrapping_sub(20));
        if u >= 260 || v >= 140 {
            colour
        } else if v % 20 < 12 && (u * 7 + v / 20 * 13) % 11 < 4 && u < 200 {
            [240.0, 240.0, 200.0]
        } else if v / 20 == (second / 60 % 7) as usize {
            [40.0, 70.0, 200.0]
        } else {
            [30.0, 30.0, 40.0]
        }
    })
}

/// Skin before the lens, and some light beside it.
fn thumb(picture: &Picture, second: i64) -> Picture {
    let mut random = lens::Random::new(second);
    let (u, v) = (140.0 + 40.0 * random.unit(), 80.0 + 30.0 * random.unit());
    let skin = lens::each(picture, |x, y, colour| {
        let far = ((x as f32 - u) / 170.0).hypot((y as f32 - v) / 95.0);
        let cover = ((1.05 - far) * 8.0).clamp(0.0, 1.0);
        [0, 1, 2].map(|i| colour[i] * (1.0 - cover) + cover * [150.0, 85.0, 60.0][i] * (1.15 - 0.4 * far))
    });
    lens::noisy(&skin, 2.0, second)
}

/// All faults.
pub fn all() -> Vec<Shift> {
    let fault = |name, spoil: fn(Picture, i64) -> Picture| moved(name, None, spoil);
    vec![
        fault("rows of two frames by turns", |picture, second| with_another(&picture, second, |y| (y % 2) as f32)),
        fault("two frames at once", |picture, second| with_another(&picture, second, |_| 0.5)),
        fault("rows of a wrong length", |picture, _| read(&picture, |x, y| (x + 3 * y, y))),
        fault("rolling", |picture, second| {
            let roll = (lens::Random::new(second).unit() * 180.0) as usize;
            read(&picture, |x, y| (x, y + roll))
        }),
        fault("rolled half way", |picture, _| read(&picture, |x, y| (x, y + 90))),
        fault("a wrong format", |picture, _| wrong_format(&picture)),
        fault("tiles shuffled", |picture, second| shuffled(&picture, second)),
        fault("on its side", |picture, _| read(&picture, |x, y| (y * 16 / 9, x * 9 / 16))),
        fault("four levels a channel", |picture, _| {
            lens::each(&picture, |_, _, colour| colour.map(|value| (value / 64.0).floor() * 85.0))
        }),
        fault("sixteen levels a channel", |picture, _| {
            lens::each(&picture, |_, _, colour| colour.map(|value| (value / 16.0).floor() * 17.0))
        }),
        fault("solarized", |picture, _| {
            lens::each(&picture, |_, _, colour| colour.map(|value| if value > 128.0 { 255.0 - value } else { value }))
        }),
        fault("a menu", |picture, second| menu(&picture, second)),
        fault("a thumb", |picture, second| thumb(&picture, second)),
        fault("a strip of eighty rows", |picture, _| {
            lens::each(&picture, |_, y, colour| if y < 80 { colour } else { [0.0; 3] })
        }),
        fault("another place every minute", |_, second| world::other_street(100 + second as u64 / 60, second)),
        fault("edges alone", |picture, _| {
            lens::each(&picture, |x, y, colour| {
                let next = pixel(&picture, x + 1, y);
                [0, 1, 2].map(|i| 128.0 + 2.0 * (next[i] - colour[i]))
            })
        }),
        aired("a night of sodium lamps", Air { darkness: 1.0, ..Air::DAY }, |picture, _| {
            lens::cast(&picture, [1.8, 1.0, 0.3])
        }),
    ]
}
