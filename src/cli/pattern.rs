//! `lookout pattern`: export the synthetic street as pictures with ground truth, in KITTI's layout.

use std::fs;
use std::path::PathBuf;

use super::console;
use crate::camera::pattern::{Scene, Truth, Weather, labels};
use crate::error::{Error, Kind, Result};

/// Arguments of `pattern`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output folder, with pictures in image_2, object labels in label_2 and tracking labels in label_02
    #[arg(long, value_name = "DIR")]
    export: PathBuf,
    /// Number of pictures, over all scenes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Seed of the first scene; each next scene adds 1
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Number of scenes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    scenes: u64,
    /// Frames between two pictures, at 15 frames a second
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    step: u64,
    /// Weather: day, night, rain, fog or cap; several, separated by commas, alternate between scenes
    #[arg(long, value_name = "NAME", default_value = "day")]
    weather: String,
    /// Width in pixels
    #[arg(long, value_name = "N", default_value_t = 640, value_parser = clap::value_parser!(u16).range(16..=8192))]
    width: u16,
    /// Height in pixels
    #[arg(long, value_name = "N", default_value_t = 360, value_parser = clap::value_parser!(u16).range(16..=8192))]
    height: u16,
    /// Write PNG instead of JPEG: lossless, but larger and slower
    #[arg(long)]
    png: bool,
}

/// Totals of the export.
#[derive(Debug, Default)]
struct ExportTotals {
    pictures: u64,
    objects: usize,
    /// Objects less than 40 pixels high.
    small: usize,
    /// Objects occluded by 10 % or more.
    occluded: usize,
    by_label: [usize; 3],
}

impl ExportTotals {
    fn add(&mut self, truths: &[Truth]) {
        self.pictures += 1;
        for truth in truths.iter().filter(|truth| truth.counts()) {
            self.objects += 1;
            self.small += usize::from(truth.height() < 40.0);
            self.occluded += usize::from(truth.occluded >= 0.1);
            self.by_label[truth.label as usize] += 1;
        }
    }
}

/// Writes pictures and labels.
pub fn execute(args: Args) -> Result<()> {
    let weathers = args.weather.split(',').map(|name| Weather::named(name.trim())).collect::<Result<Vec<_>>>()?;
    let folder = |name: &str| {
        let path = args.export.join(name);
        fs::create_dir_all(&path).map_err(|source| Error::writing(&path, source))?;
        Ok::<_, Error>(path)
    };
    let (images, objects, tracks) = (folder("image_2")?, folder("label_2")?, folder("label_02")?);
    let scenes = args.scenes.min(args.count);
    let mut totals = ExportTotals::default();
    for index in 0..scenes {
        let seed = args.seed.checked_add(index).ok_or_else(|| Error::new(Kind::Usage, "--seed is too large"))?;
        let mut scene = Scene::new(seed, args.width.into(), args.height.into());
        scene.set_weather(weathers[(index % weathers.len() as u64) as usize]);
        let mut sequence = String::new();
        // Number of the scene's first picture, so that pictures are distributed evenly.
        let first = |scene: u64| scene * args.count / scenes;
        for (position, number) in (first(index)..first(index + 1)).enumerate() {
            let (picture, truths) = scene.frame(position as u64 * args.step);
            picture.save(images.join(format!("{number:06}.{}", if args.png { "png" } else { "jpg" })))?;
            write(&objects.join(format!("{number:06}.txt")), &labels::object(&truths))?;
            sequence.push_str(&labels::tracking(position as u64, &truths));
            totals.add(&truths);
        }
        write(&tracks.join(format!("{index:04}.txt")), &sequence)?;
    }
    let percent = |part: usize| 100.0 * part as f64 / totals.objects.max(1) as f64;
    console::print(format_args!(
        "{} pictures of {scenes} scenes: {:.2} objects a picture (Person {}, TwoWheeler {}, Vehicle {}), {:.1} % below 40 \
         pixels, {:.1} % occluded",
        totals.pictures,
        totals.objects as f64 / totals.pictures.max(1) as f64,
        totals.by_label[0],
        totals.by_label[1],
        totals.by_label[2],
        percent(totals.small),
        percent(totals.occluded),
    ))?;
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|source| Error::writing(path, source))
}
