//! Worked example of src/monitor/README.md: a nightfall on the synthetic street, in the demo model calibrated by day.
//!
//! ```sh
//! cargo test --test suite monitor::example:: -- --ignored --nocapture
//! ```
//!
//! Prints the log and the metrics. Writes the error maps of one frame of the night to `tests/monitor`, before and after
//! the recalibration.

use std::path::Path;

use lookout::monitor::{MonitorOptions, PassRunner, RecalibrationPolicy};

use super::device::{Device, between};
use super::world::{self, Weather};

#[test]
#[ignore = "writes the pictures of src/monitor/README.md: see the first lines"]
fn a_nightfall() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .finish();
    let options = MonitorOptions { recalibrate: RecalibrationPolicy::OnDrift, ..MonitorOptions::default() };
    let mut device = Device::new(&between((8, 18)), true, options);
    let before = device.models.serving();
    tracing::subscriber::with_default(subscriber, || {
        device.until(9);
        device.watch(24, 1200, Weather::Clear);
        device.until(21);
        device.watch(30, 60, Weather::Clear);
        device.until(9);
        device.watch(4, 60, Weather::Clear);
    });
    for (event, details) in device.host.events.lock().unwrap().iter() {
        println!("{event:?} {}", serde_json::to_string(details).unwrap());
    }
    let after = device.models.serving();
    assert!(after.generation > 0);
    for line in device.metrics.encode().unwrap().lines().filter(|line| !line.starts_with('#')) {
        let names = ["drift", "calibration", "generation", "agreement", "monitor", "fpn.layer_blocks.0.0"];
        if names.iter().any(|name| line.contains(name)) {
            println!("{line}");
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/monitor");
    let night = world::street(23 * 3600, Weather::Clear);
    for (name, served) in [("before", &before), ("after", &after)] {
        let reference = Some(std::sync::Arc::clone(&device.reference));
        let mut looker = PassRunner::new(std::sync::Arc::clone(served.model.plan()), reference).unwrap();
        let look = looker.run(&served.model, &night, true, &mut || Ok(())).unwrap();
        for map in &look.maps {
            println!("{name} {}: mean relative error {:.4}", map.level, map.mean());
        }
        let finest = &look.maps[0];
        std::fs::write(folder.join(format!("night-{name}-{}.png", finest.level)), finest.to_png().unwrap()).unwrap();
    }
}
