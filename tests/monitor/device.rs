//! Test device: a monitor with a recording host, driven sample by sample.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use lookout::calibrate::{
    CalibrationPicture, Observer, PictureSelection, QuantizeOptions, Wide, quantize_frames, usability,
};
use lookout::detector::checkpoint::{Checkpoint, ImportOptions, import};
use lookout::detector::fp32::Fp32Model;
use lookout::detector::int8::{Int8Model, Quantized};
use lookout::error::{Error, Kind, Result};
use lookout::frame::{Frame, Image, Picture};
use lookout::kernel::isa::Isa;
use lookout::measure::StepError;
use lookout::message::EventName;
use lookout::metrics::Metrics;
use lookout::monitor::{
    Generations, Host, LatestPass, Models, Monitor, MonitorOptions, MonitorSetup, Pass, PassRunner,
    RecalibrationOutcome, Sample, SampleOutcome, ServingModel, Trigger,
};
use lookout::quant::artifact::Artifact;
use lookout::tensor::digest::sha256;
use serde_json::Value;
use tempfile::TempDir;

use super::world::{self, Weather};
use crate::golden;

/// Second 0 of a device, in seconds since 1970.
const BEGIN: i64 = 1_767_225_600;

/// Records what the monitor publishes.
#[derive(Default)]
pub struct FakeHost {
    pub events: Mutex<Vec<(EventName, BTreeMap<String, Value>)>>,
    pub served: Mutex<Vec<u32>>,
    pub second: Mutex<i64>,
    pub camera_fault: Mutex<Option<String>>,
}

impl Host for FakeHost {
    fn event(&self, event: EventName, details: BTreeMap<String, Value>) {
        self.events.lock().unwrap().push((event, details));
    }

    fn serve(&self, served: &ServingModel) -> Result<()> {
        self.served.lock().unwrap().push(served.generation);
        Ok(())
    }

    fn status(&self, _: Value) {}

    fn degraded(&self, _: Option<String>) {}

    fn camera_fault(&self, reason: Option<String>) {
        *self.camera_fault.lock().unwrap() = reason;
    }

    fn now(&self) -> String {
        jiff::Timestamp::from_second(*self.second.lock().unwrap()).unwrap().to_string()
    }

    fn synchronized_us(&self) -> Option<i64> {
        Some(*self.second.lock().unwrap() * 1_000_000)
    }
}

/// The demo model, made to look at frames of [`world::SIZE`] as they are: a quarter of the work.
pub fn small() -> &'static [u8] {
    static SMALL: OnceLock<Vec<u8>> = OnceLock::new();
    SMALL.get_or_init(|| {
        let mut bytes = lookout::detector::demo::checkpoint().expect("the demo model is built in").to_vec();
        for (from, to) in [("max_size\\\":640", "max_size\\\":320"), ("min_size\\\":[360]", "min_size\\\":[180]")] {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        bytes
    })
}

/// [`small`] as a file.
pub fn checkpoint(folder: &std::path::Path) -> PathBuf {
    let out = folder.join("small.checkpoint");
    std::fs::write(&out, small()).unwrap();
    out
}

/// A narrow untrained network, as `lookout import` makes it.
pub fn narrow(folder: &std::path::Path) -> PathBuf {
    imported(golden::folder().join("r18.safetensors"), folder.join("narrow.checkpoint"), Some((96, 128)))
}

/// A narrow untrained MobileNetV3 with a pyramid, of torchvision's layers.
pub fn narrow_mobilenet(folder: &std::path::Path) -> PathBuf {
    let networks = golden::folder().join("networks");
    let out = folder.join("mobilenet.checkpoint");
    import(&ImportOptions {
        settings: Some(networks.join("mobilenet-v3-large-320.settings.toml")),
        min_size: Some(96),
        max_size: Some(176),
        ..ImportOptions::new(networks.join("mobilenet-v3-large-320.safetensors"), &out)
    })
    .unwrap();
    out
}

/// The ResNet-50 of `../shared`, its pictures between these sides in pixels, or as it is; `None` without it.
pub fn road(folder: &std::path::Path, sides: Option<(u32, u32)>) -> Option<PathBuf> {
    Some(imported(golden::shared("models/road-r50-fpn.safetensors")?, folder.join("road"), sides))
}

/// A tenth of the work of the full size.
pub const ROAD_SMALL: Option<(u32, u32)> = Some((128, 424));

fn imported(source: PathBuf, out: PathBuf, sides: Option<(u32, u32)>) -> PathBuf {
    let (min_size, max_size) = sides.unzip();
    import(&ImportOptions { min_size, max_size, ..ImportOptions::new(source, &out) }).unwrap();
    out
}

/// The mean over the steps, in dB.
pub fn mean_sqnr(errors: &[StepError]) -> f64 {
    let steps: Vec<f64> = errors.iter().filter_map(StepError::sqnr_db).collect();
    steps.iter().sum::<f64>() / steps.len() as f64
}

/// The artifact of `checkpoint`, calibrated on these pictures: made once for all tests. Nothing in it has two bytes, and
/// its ranges are narrow (l2): a shift harms it more than the default one, and a recalibration has more to gain. With
/// `LOOKOUT_ARTIFACT=default` it is the default one.
pub fn artifact(checkpoint: &Checkpoint, pictures: &[Picture]) -> Vec<u8> {
    if std::env::var("LOOKOUT_ARTIFACT").is_ok_and(|name| name == "default") {
        return default_artifact(checkpoint, pictures);
    }
    artifact_of(checkpoint, pictures, Observer::L2, Wide::Count(0))
}

/// The artifact that `quantize` makes by default.
pub fn default_artifact(checkpoint: &Checkpoint, pictures: &[Picture]) -> Vec<u8> {
    artifact_of(checkpoint, pictures, Observer::default(), Wide::default())
}

fn artifact_of(checkpoint: &Checkpoint, pictures: &[Picture], observer: Observer, wide: Wide) -> Vec<u8> {
    static MADE: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let sums: Vec<u8> = pictures.iter().flat_map(usability::pixel_sha256).collect();
    let key = format!("{} {} {observer} {wide:?}", checkpoint.sha256().unwrap(), sha256(&sums));
    let mut made = MADE.lock().unwrap();
    made.entry(key).or_insert_with(|| quantize(checkpoint, pictures, observer, wide)).clone()
}

fn quantize(checkpoint: &Checkpoint, pictures: &[Picture], observer: Observer, wide: Wide) -> Vec<u8> {
    let name = |at: usize| format!("{at:04}");
    let chosen = |(at, picture): (usize, &Picture)| CalibrationPicture {
        name: name(at),
        path: name(at).into(),
        sha256: usability::pixel_sha256(picture),
    };
    let selection =
        PictureSelection { pictures: pictures.iter().enumerate().map(chosen).collect(), ..PictureSelection::default() };
    let open = |chosen: &CalibrationPicture| Ok(pictures[chosen.name.parse::<usize>().unwrap()].clone());
    let options = QuantizeOptions { evidence_pictures: pictures.len(), observer, wide, ..QuantizeOptions::default() };
    quantize_frames(checkpoint, selection, &open, &options, Isa::best(), &mut |_, _, _| {}).unwrap().bytes
}

/// See the module's head.
pub struct Device {
    _folder: TempDir,
    pub models: Arc<Models>,
    pub monitor: Monitor,
    pub host: Arc<FakeHost>,
    pub metrics: Arc<Metrics>,
    pub reference: Arc<Fp32Model>,
    pub view: Arc<LatestPass>,
    pub second: i64,
    /// Result of the latest pass.
    pub score: f64,
    /// The call of the yield point that interrupts the next sample.
    pub interruption: Option<u32>,
    /// Samples that were interrupted.
    pub interrupted: u32,
    /// Calls of the yield point by the last sample that was not.
    pub calls: u32,
    sequence: u64,
}

/// 24 frames of clear weather between these hours of a day.
pub fn between(hours: (i64, i64)) -> Vec<Picture> {
    between_in(hours, Weather::Clear)
}

/// The same in any weather.
pub fn between_in(hours: (i64, i64), weather: Weather) -> Vec<Picture> {
    let (from, to) = (hours.0 * 3600, hours.1 * 3600);
    (0..24).map(|at| world::street(from + (to - from) * at / 24 + 7 * at, weather)).collect()
}

impl Device {
    /// A device calibrated on `pictures`, with or without the reference.
    pub fn new(pictures: &[Picture], with_reference: bool, options: MonitorOptions) -> Self {
        Self::of(&Checkpoint::from_bytes(small()).unwrap(), pictures, with_reference, options)
    }

    /// The same with any network.
    pub fn of(checkpoint: &Checkpoint, pictures: &[Picture], with_reference: bool, options: MonitorOptions) -> Self {
        Self::on(checkpoint, &artifact(checkpoint, pictures), with_reference, options)
    }

    /// [`Device::new`] with the artifact that `quantize` makes by default.
    pub fn by_default(pictures: &[Picture], with_reference: bool, options: MonitorOptions) -> Self {
        let checkpoint = Checkpoint::from_bytes(small()).unwrap();
        Self::on(&checkpoint, &default_artifact(&checkpoint, pictures), with_reference, options)
    }

    /// The same with an artifact of `checkpoint`.
    pub fn on(checkpoint: &Checkpoint, bytes: &[u8], with_reference: bool, options: MonitorOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut generations = Generations::open(folder.path(), &sha256(bytes), options.keep_generations).unwrap();
        generations.set_initial(bytes, "2026-01-01T00:00:00Z").unwrap();
        let start = generations.start("boot").unwrap();
        let artifact = Artifact::parse(&start.bytes).unwrap();
        let quantized = Quantized::from_artifact(&artifact, Ok).unwrap();
        let model = Arc::new(Int8Model::new(&quantized, Isa::best()).unwrap());
        let reference = Arc::new(model.reference(checkpoint, Isa::best()).unwrap());
        let host = Arc::new(FakeHost { second: Mutex::new(BEGIN), ..FakeHost::default() });
        let metrics = Arc::new(Metrics::new());
        let labels = artifact.header().labels.clone().into();
        let served = ServingModel { model, generation: 0, sha256: sha256(&start.bytes), labels };
        let shared = Arc::clone(&host) as Arc<dyn Host>;
        let models = Arc::new(Models::new(generations, served, shared, Arc::clone(&metrics), "boot".into()));
        let view = Arc::new(LatestPass::default());
        let monitor = Monitor::new(MonitorSetup {
            options,
            models: Arc::clone(&models),
            reference: with_reference.then(|| Arc::clone(&reference)),
            reference_error: None,
            cameras: vec!["front".to_owned()].into(),
            host: Arc::clone(&host) as Arc<dyn Host>,
            metrics: Arc::clone(&metrics),
            view: Arc::clone(&view),
        })
        .unwrap();
        Self {
            _folder: folder,
            models,
            monitor,
            host,
            metrics,
            reference,
            view,
            second: 0,
            score: 0.0,
            interruption: None,
            interrupted: 0,
            calls: 0,
            sequence: 0,
        }
    }

    /// Shows the monitor `picture` at the device's time, and `next` after it.
    pub fn show(&mut self, picture: Picture, next: Option<Picture>) -> SampleOutcome {
        *self.host.second.lock().unwrap() = BEGIN + self.second;
        self.sequence += 1;
        let frame = |picture: Picture| {
            Arc::new(Frame {
                image: Image::Rgb(picture),
                sequence: self.sequence,
                captured_at: jiff::Timestamp::from_second(BEGIN + self.second).unwrap(),
                captured_monotonic_ns: self.second as u64 * 1_000_000_000,
            })
        };
        let sample = Sample { camera: 0, frame: frame(picture), next: next.map(frame) };
        let (interruption, mut calls) = (self.interruption.take(), 0);
        let mut yield_point = || {
            calls += 1;
            if interruption == Some(calls) { Err(Error::new(Kind::Unavailable, "interrupted")) } else { Ok(()) }
        };
        let seen = match self.monitor.sample(&sample, &mut yield_point) {
            // As the service does: work that was interrupted begins again.
            Err(error) if interruption.is_some() => {
                assert_eq!(error.chain(), "interrupted");
                self.interrupted += 1;
                self.monitor.sample(&sample, &mut || Ok(())).unwrap()
            }
            seen => seen.unwrap(),
        };
        self.calls = calls;
        if let SampleOutcome::Compared(verdict) = &seen {
            self.score = verdict.score;
        }
        seen
    }

    /// Passes on the street in a weather, one every `step` seconds; returns the number of the pass at which drift was
    /// there first.
    pub fn watch(&mut self, passes: usize, step: i64, weather: Weather) -> Option<usize> {
        let mut first = None;
        for pass in 1..=passes {
            self.second += step;
            let seen = self.show(world::street(self.second, weather), None);
            match seen {
                SampleOutcome::Compared(verdict) if verdict.drifting => first = first.or(Some(pass)),
                SampleOutcome::Compared(_) => {}
                SampleOutcome::Unusable(reason) => panic!("{weather:?} at {}: {reason:?}", self.second),
            }
        }
        first
    }

    /// As [`Device::watch`], but only until drift is there.
    pub fn watch_for_drift(&mut self, most: usize, step: i64, weather: Weather) -> Option<usize> {
        (1..=most).find(|_| self.watch(1, step, weather).is_some())
    }

    /// Advances to the next time of this hour.
    pub fn until(&mut self, hour: i64) {
        let day = 86_400;
        self.second += (hour * 3600 - self.second).rem_euclid(day);
    }

    pub fn recalibrate(&mut self) -> RecalibrationOutcome {
        self.monitor.recalibrate(Trigger::Request, &mut || Ok(())).unwrap()
    }

    /// The generations as `lookout generations list` answers them.
    pub fn list(&self) -> Value {
        serde_json::to_value(self.models.generations().list()).unwrap()
    }

    pub fn events(&self) -> Vec<EventName> {
        self.host.events.lock().unwrap().iter().map(|(event, _)| *event).collect()
    }

    /// The numbers of the last event of a name.
    pub fn last(&self, name: EventName) -> BTreeMap<String, Value> {
        let events = self.host.events.lock().unwrap();
        events.iter().rev().find(|(event, _)| *event == name).unwrap().1.clone()
    }

    /// The mean SQNR over all steps, on these pictures.
    pub fn quality_of(&self, served: &ServingModel, pictures: &[Picture]) -> f64 {
        let mut looker = PassRunner::new(Arc::clone(served.model.plan()), Some(Arc::clone(&self.reference))).unwrap();
        let mut sum = 0.0;
        for picture in pictures {
            let Pass { errors, .. } = looker.run(&served.model, picture, false, &mut || Ok(())).unwrap();
            sum += mean_sqnr(&errors);
        }
        sum / pictures.len() as f64
    }
}
