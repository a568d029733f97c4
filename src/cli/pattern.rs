//! `lookout pattern`: the synthetic street as pictures with their truth, laid out as KITTI lays out its own.

use std::fs;
use std::path::PathBuf;

use super::console;
use crate::camera::pattern::{Scene, Truth, Weather, labels};
use crate::error::{Error, Kind, Result};

/// Arguments of `pattern`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write to: image_2 pictures, label_2 object labels, label_02 tracking labels a scene
    #[arg(long, value_name = "DIR")]
    export: PathBuf,
    /// Pictures to write, of all scenes together
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Seed of the first scene; the next scene's is one more
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Scenes that the pictures are spread over, evenly
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    scenes: u64,
    /// Frames from one picture to the next; 15 are a second
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    step: u64,
    /// Weather: day, night, rain, fog, cap; or several with commas, by turns from scene to scene
    #[arg(long, value_name = "NAME", default_value = "day")]
    weather: String,
    /// Columns
    #[arg(long, value_name = "N", default_value_t = 640, value_parser = clap::value_parser!(u16).range(16..=8192))]
    width: u16,
    /// Rows
    #[arg(long, value_name = "N", default_value_t = 360, value_parser = clap::value_parser!(u16).range(16..=8192))]
    height: u16,
    /// Write PNG, exact but larger and slower, instead of JPEG
    #[arg(long)]
    png: bool,
}

/// What was written, summed up.
#[derive(Debug, Default)]
struct Tally {
    pictures: u64,
    counted: usize,
    low: usize,
    hidden: usize,
    by_label: [usize; 3],
}

impl Tally {
    fn add(&mut self, truths: &[Truth]) {
        self.pictures += 1;
        for truth in truths.iter().filter(|truth| truth.counts()) {
            self.counted += 1;
            self.low += usize::from(truth.height() < 40.0);
            self.hidden += usize::from(truth.occluded >= 0.1);
            self.by_label[truth.label as usize] += 1;
        }
    }
}

/// Writes the pictures and their labels.
pub fn execute(args: Args) -> Result<()> {
    let weathers = args.weather.split(',').map(|name| Weather::named(name.trim())).collect::<Result<Vec<_>>>()?;
    let folder = |name: &str| {
        let path = args.export.join(name);
        fs::create_dir_all(&path).map_err(|source| Error::writing(&path, source))?;
        Ok::<_, Error>(path)
    };
    let (images, objects, tracks) = (folder("image_2")?, folder("label_2")?, folder("label_02")?);
    let scenes = args.scenes.min(args.count);
    let mut tally = Tally::default();
    for index in 0..scenes {
        let seed = args.seed.checked_add(index).ok_or_else(|| Error::new(Kind::Usage, "--seed is too large"))?;
        let mut scene = Scene::new(seed, args.width.into(), args.height.into());
        scene.set_weather(weathers[(index % weathers.len() as u64) as usize]);
        let mut sequence = String::new();
        // Pictures of the scenes before, so that they are spread as evenly as whole numbers are.
        let share = |scenes_done: u64| scenes_done * args.count / scenes;
        for (position, number) in (share(index)..share(index + 1)).enumerate() {
            let (picture, truths) = scene.frame(position as u64 * args.step);
            picture.save(images.join(format!("{number:06}.{}", if args.png { "png" } else { "jpg" })))?;
            write(&objects.join(format!("{number:06}.txt")), &labels::object(&truths))?;
            sequence.push_str(&labels::tracking(position as u64, &truths));
            tally.add(&truths);
        }
        write(&tracks.join(format!("{index:04}.txt")), &sequence)?;
    }
    let share = |part: usize| 100.0 * part as f64 / tally.counted.max(1) as f64;
    console::print(format_args!(
        "{} pictures of {scenes} scenes: {:.2} objects a picture (Person {}, TwoWheeler {}, Vehicle {}), {:.1} % below 40 \
         pixels, {:.1} % partly hidden",
        tally.pictures,
        tally.counted as f64 / tally.pictures.max(1) as f64,
        tally.by_label[0],
        tally.by_label[1],
        tally.by_label[2],
        share(tally.low),
        share(tally.hidden),
    ))?;
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|source| Error::writing(path, source))
}
