//! Log output: to the journal if systemd started the process, else to stderr as text or JSON lines.

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock};

use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::redacting_log::Redacting;
use crate::config::DeviceSettings;
use crate::config::document::LogFormat;
use crate::error::{Error, Kind, Result};

/// Starts logging with the format and the filter of `[device]`. A second call in one process has no effect.
///
/// # Errors
///
/// [`Kind::Config`] for a filter that cannot be parsed; [`Kind::Unavailable`] if the journal is configured by name and
/// does not exist.
pub fn start(device: &DeviceSettings) -> Result<()> {
    let filter = EnvFilter::try_new(&device.log_level)
        .map_err(|error| Error::new(Kind::Config, "device.log_level cannot be read").because(error))?;
    let output = Redacting(output(device.log_format)?);
    let (filter, handle) = reload::Layer::new(filter);
    if tracing_subscriber::registry().with(output).with(filter).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
    Ok(())
}

/// Handle that changes the filter.
static FILTER: OnceLock<reload::Handle<EnvFilter, Layered<Output, Registry>>> = OnceLock::new();

type Output = Redacting<Box<dyn Layer<Registry> + Send + Sync>>;

/// Replaces the filter.
///
/// # Errors
///
/// [`Kind::Config`] for a filter that cannot be parsed.
pub fn set_level(directives: &str) -> Result<()> {
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| Error::new(Kind::Config, "device.log_level cannot be read").because(error))?;
    if let Some(handle) = FILTER.get() {
        // Fails only if the subscriber no longer exists.
        let _ = handle.reload(filter);
    }
    Ok(())
}

fn output(format: LogFormat) -> Result<Box<dyn Layer<Registry> + Send + Sync>> {
    let text = || {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).boxed()
    };
    Ok(match format {
        LogFormat::Text => text(),
        LogFormat::Json => tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(std::io::stderr())).boxed(),
        LogFormat::Journald => tracing_journald::layer()
            .map_err(|error| Error::new(Kind::Unavailable, "device.log_format: there is no journal").because(error))?
            .boxed(),
        // Without the journal's socket, stderr still reaches the journal.
        LogFormat::Auto if stderr_is_journal() => tracing_journald::layer().map_or_else(|_| text(), Layer::boxed),
        LogFormat::Auto => text(),
    })
}

/// True if stderr is connected to the journal: `JOURNAL_STREAM` holds the device and inode of that stream.
fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
