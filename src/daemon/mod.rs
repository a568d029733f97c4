//! The service: cameras in, messages out, until a signal or until every camera has ended.
//!
//! One thread per camera captures, one thread detects, tokio carries the rest. The files and folders, from the entry
//! point down; none imports one of a row above:
//!
//! | file or folder | content |
//! |---|---|
//! | `service` | the process: signals, the control socket, one run after another |
//! | `run` | one run: start, wait for an end, stop in order |
//! | `components` | everything that a run is built from |
//! | `reload/` | applies another configuration |
//! | `detect`, `monitoring/` | the detector thread; the monitor's thread, verbs and model |
//! | `cameras/` | capture threads, the camera registry, filters |
//! | `output/` | sinks, events, frame history, the web page |
//! | `settings_check`, `socket` | the check of settings before a run; the control socket |
//! | `model/` | engine, loading, start-up check, swap, memory estimate |
//! | `supervision/` | health, watchdog, temperature, signals, systemd |
//! | `identity`, `logging`, `redacting_log`, `paths`, `runtime` | device name and boot id; the log, without secrets; folders; tokio |
//!
//! [`run()`] is the whole service. [`run_once`] is one run, built from [`Components`] that tests can replace.

mod cameras;
mod components;
mod detect;
mod identity;
pub mod logging;
mod model;
mod monitoring;
mod output;
mod paths;
mod redacting_log;
mod reload;
mod run;
mod runtime;
mod service;
mod settings_check;
mod socket;
mod supervision;

pub use cameras::filter::Filter;
pub use cameras::motion_gate::GateRules;
pub use cameras::open::{Camera, open_source};
pub use cameras::registry::CameraRules;
pub use components::Components;
pub use identity::Identity;
pub use model::engine::{Engine, EngineOutput, LocalEngine, ModelInfo, detector_options};
pub use model::memory::{MONITOR_MEMORY, SERVICE_MEMORY};
pub use model::swap::EngineSwap;
pub use output::console::Console;
pub use output::line_counts::LineCounts;
pub use output::objects::ObjectSettings;
pub use output::observer::FrameObserver;
pub use output::sinks::broker;
pub use output::web::read_token;
pub use paths::{runtime_folders, state_folder};
pub use reload::requests::ReloadRequests;
pub use run::run_once;
pub use service::run;
pub use settings_check::{check_names, check_settings, model_file};
pub use socket::{NAME as CONTROL_SOCKET, parse_request};
pub use supervision::health::Health;
pub use supervision::thermal::{ThermalThrottle, ZONES as THERMAL_ZONES, ZoneTemperature};
