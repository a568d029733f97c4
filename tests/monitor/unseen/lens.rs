//! Effects of optics, light, mounts and transports on a picture.

use std::f32::consts::TAU;
use std::io::Cursor;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use lookout::frame::Picture;

/// Deterministic random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: i64) -> Self {
        Self((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// About normal, of deviation 1.
    pub fn normal(&mut self) -> f32 {
        2.0 * (0..3).map(|_| self.unit() - 0.5).sum::<f32>()
    }
}

/// Each pixel of `picture` by its place and colour.
pub fn each(picture: &Picture, mut f: impl FnMut(usize, usize, [f32; 3]) -> [f32; 3]) -> Picture {
    let mut out = picture.clone();
    for (at, pixel) in out.data.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let colour = f(at % picture.width, at / picture.width, pixel.map(f32::from));
        *pixel = colour.map(|value| value.round().clamp(0.0, 255.0) as u8);
    }
    out
}

/// The picture that has at each place what `from` says was elsewhere; between pixels in between, black outside.
pub fn warped(picture: &Picture, from: impl Fn(f32, f32) -> (f32, f32)) -> Picture {
    let (width, height) = (picture.width, picture.height);
    let at = |x: isize, y: isize| {
        let inside = x >= 0 && y >= 0 && (x as usize) < width && (y as usize) < height;
        if inside { picture.pixel(x as usize, y as usize).map(f32::from) } else { [0.0; 3] }
    };
    each(picture, |x, y, _| {
        let (u, v) = from(x as f32, y as f32);
        let (left, top) = (u.floor(), v.floor());
        let (right_share, low_share) = (u - left, v - top);
        let corner = |dx: isize, dy: isize| at(left as isize + dx, top as isize + dy);
        let (a, b, c, d) = (corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1));
        let mix = |one: f32, other: f32, share: f32| one + share * (other - one);
        [0, 1, 2].map(|i| mix(mix(a[i], b[i], right_share), mix(c[i], d[i], right_share), low_share))
    })
}

/// Weighted by `kernel` along one direction; the border goes on.
fn along(picture: &Picture, kernel: &[f32], (dx, dy): (isize, isize)) -> Picture {
    let half = kernel.len() as isize / 2;
    let last = |side: usize| side as isize - 1;
    each(picture, |x, y, _| {
        let mut sum = [0.0; 3];
        for (tap, weight) in kernel.iter().enumerate() {
            let offset = tap as isize - half;
            let u = (x as isize + offset * dx).clamp(0, last(picture.width)) as usize;
            let v = (y as isize + offset * dy).clamp(0, last(picture.height)) as usize;
            sum.iter_mut().zip(picture.pixel(u, v)).for_each(|(sum, value)| *sum += weight * f32::from(value));
        }
        sum
    })
}

/// Out of focus by a Gaussian of this deviation in pixels.
pub fn blurred(picture: &Picture, sigma: f32) -> Picture {
    let half = (3.0 * sigma).ceil() as i32;
    let weights: Vec<f32> = (-half..=half).map(|x| (-0.5 * (x as f32 / sigma).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    let kernel: Vec<f32> = weights.iter().map(|weight| weight / sum).collect();
    along(&along(picture, &kernel, (1, 0)), &kernel, (0, 1))
}

/// Moved sideways by so many pixels (odd) while it was taken.
pub fn smeared(picture: &Picture, pixels: usize) -> Picture {
    along(picture, &vec![1.0 / pixels as f32; pixels], (1, 0))
}

/// ITU-R 601 luma.
pub fn luma([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Luma as it is, both colour differences as `f` makes them.
pub fn recoloured(picture: &Picture, f: impl Fn(f32, f32) -> (f32, f32)) -> Picture {
    each(picture, |_, _, colour| {
        let y = luma(colour);
        let (cb, cr) = f(0.564 * (colour[2] - y), 0.713 * (colour[0] - y));
        [y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb]
    })
}

/// Without colour.
pub fn grey(picture: &Picture) -> Picture {
    recoloured(picture, |_, _| (0.0, 0.0))
}

/// Grey and noisy by the light of a lamp beside the lens, which gets weaker outwards.
pub fn infrared(picture: &Picture, lamp: f32, weaker: f32, second: i64) -> Picture {
    let (width, height) = (picture.width as f32, picture.height as f32);
    let lit = each(&grey(picture), |x, y, colour| {
        let far = (x as f32 / width - 0.5).hypot(y as f32 / height - 0.7);
        colour.map(|value| lamp * value * (1.2 - weaker * far) + 30.0)
    });
    grey(&noisy(&lit, 6.0, second))
}

pub fn negative(picture: &Picture) -> Picture {
    each(picture, |_, _, colour| colour.map(|value| 255.0 - value))
}

pub fn upside_down(mut picture: Picture) -> Picture {
    picture.data.as_chunks_mut::<3>().0.reverse();
    picture
}

/// Its middle, twice as large.
pub fn zoomed(picture: &Picture) -> Picture {
    let (u, v) = (picture.width as f32 / 2.0, picture.height as f32 / 2.0);
    warped(picture, |x, y| ((x - u) / 2.0 + u, (y - v) / 2.0 + v))
}

/// Each channel by a factor.
pub fn cast(picture: &Picture, factors: [f32; 3]) -> Picture {
    each(picture, |_, _, colour| [0, 1, 2].map(|i| colour[i] * factors[i]))
}

pub fn gamma(picture: &Picture, exponent: f32) -> Picture {
    each(picture, |_, _, colour| colour.map(|value| 255.0 * (value / 255.0).powf(exponent)))
}

/// With a sensor's noise of this deviation.
pub fn noisy(picture: &Picture, deviation: f32, second: i64) -> Picture {
    let mut random = Random::new(second);
    each(picture, |_, _, colour| colour.map(|value| value + deviation * random.normal()))
}

/// The picture with this share of its pixels black or white.
pub fn salted(picture: &Picture, share: f32, second: i64) -> Picture {
    let mut random = Random::new(second);
    each(picture, |_, _, colour| match random.unit() {
        unit if unit < share / 2.0 => [0.0; 3],
        unit if unit < share => [255.0; 3],
        _ => colour,
    })
}

/// Through a JPEG of this quality and back.
pub fn coarse(picture: &Picture, quality: u8) -> Picture {
    let mut bytes = Cursor::new(Vec::new());
    let (width, height) = (picture.width as u32, picture.height as u32);
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    encoder.encode(&picture.data, width, height, ExtendedColorType::Rgb8).unwrap();
    Picture::decode(bytes.get_ref()).unwrap()
}

/// Of every `factor` columns and rows one, repeated.
pub fn mosaic(picture: &Picture, factor: usize) -> Picture {
    each(picture, |x, y, _| {
        let place = |at: usize, side: usize| (at / factor * factor + factor / 2).min(side - 1);
        picture.pixel(place(x, picture.width), place(y, picture.height)).map(f32::from)
    })
}

/// How far each place lies within the nearest of some drops that stay where they are: 0 outside, 1 well within.
fn drops(count: usize, radius: f32, (width, height): (usize, usize)) -> impl Fn(usize, usize) -> f32 {
    let mut random = Random::new(1234);
    let places: Vec<[f32; 3]> = (0..count)
        .map(|_| [random.unit() * width as f32, random.unit() * height as f32, radius * (0.6 + 0.8 * random.unit())])
        .collect();
    move |x, y| {
        let depth = |[u, v, r]: &[f32; 3]| 1.0 - ((x as f32 - u).hypot(y as f32 - v) / r);
        (3.0 * places.iter().map(depth).fold(0.0, f32::max)).clamp(0.0, 1.0)
    }
}

/// With dirt on the lens: dark, soft, always in the same places, over about a third of it.
pub fn dirty(picture: &Picture) -> Picture {
    let depth = drops(14, 24.0, (picture.width, picture.height));
    each(picture, |x, y, colour| {
        let depth = depth(x, y);
        let dirt = [40.0, 33.0, 25.0];
        [0, 1, 2].map(|i| dirt[i] * depth + colour[i] * (1.0 - depth))
    })
}

/// With drops of water on the lens: within them everything is far out of focus and a little brighter.
pub fn wet(picture: &Picture) -> Picture {
    let depth = drops(14, 24.0, (picture.width, picture.height));
    let soft = blurred(picture, 5.0);
    each(picture, |x, y, colour| {
        let (depth, soft) = (depth(x, y), soft.pixel(x, y).map(|value| 1.1 * f32::from(value) + 8.0));
        [0, 1, 2].map(|i| soft[i] * depth + colour[i] * (1.0 - depth))
    })
}

/// In snow: flakes of every size, and a veil.
pub fn snowed(picture: &Picture, second: i64) -> Picture {
    let mut random = Random::new(second);
    let flakes: Vec<[f32; 3]> = (0..500)
        .map(|_| {
            let near = random.unit().powi(4);
            [random.unit() * picture.width as f32, random.unit() * picture.height as f32, 0.7 + 3.5 * near]
        })
        .collect();
    let mut out = each(picture, |_, _, colour| colour.map(|value| 0.75 * value + 50.0));
    for [u, v, radius] in flakes {
        let reach = radius.ceil() as isize + 1;
        for y in (v as isize - reach)..=(v as isize + reach) {
            for x in (u as isize - reach)..=(u as isize + reach) {
                let inside = x >= 0 && y >= 0 && (x as usize) < picture.width && (y as usize) < picture.height;
                let cover = (radius + 0.5 - (x as f32 - u).hypot(y as f32 - v)).clamp(0.0, 1.0);
                if inside && cover > 0.0 {
                    let at = (y as usize * picture.width + x as usize) * 3;
                    out.data[at..at + 3]
                        .iter_mut()
                        .for_each(|value| *value = (f32::from(*value) * (1.0 - cover) + 240.0 * cover) as u8);
                }
            }
        }
    }
    out
}

/// Half of it behind a hand that moves a little.
pub fn behind_a_hand(picture: &Picture, second: i64) -> Picture {
    let mut random = Random::new(second);
    let edge = picture.width as f32 * (0.5 + 0.04 * (random.unit() - 0.5));
    let blurred = 8.0;
    each(picture, |x, y, colour| {
        let wave = 10.0 * (y as f32 / 25.0).sin();
        let cover = ((edge + wave - x as f32) / blurred).clamp(0.0, 1.0);
        let skin = [95.0, 62.0, 48.0].map(|value| value * (0.6 + 0.4 * y as f32 / picture.height as f32));
        [0, 1, 2].map(|i| skin[i] * cover + colour[i] * (1.0 - cover))
    })
}

/// Under lamps that flicker faster than its rows are read.
pub fn banded(picture: &Picture, second: i64) -> Picture {
    let phase = Random::new(second).unit() * TAU;
    each(picture, |_, y, colour| {
        let light = 0.7 + 0.35 * (y as f32 / picture.height as f32 * TAU * 3.0 + phase).sin();
        colour.map(|value| value * light)
    })
}

/// The low sun in it.
pub fn dazzled(picture: &Picture) -> Picture {
    let (u, v) = (0.62 * picture.width as f32, 0.3 * picture.height as f32);
    each(picture, |x, y, colour| {
        let far = (x as f32 - u).hypot(y as f32 - v) / picture.height as f32;
        let glare = 60.0 + 260.0 * (-(far / 0.28).powi(2)).exp();
        let tint = [1.0, 0.92, 0.78];
        [0, 1, 2].map(|i| 0.7 * colour[i] + tint[i] * glare)
    })
}
