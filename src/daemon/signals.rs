//! SIGTERM and SIGINT: the first one stops in order, the second one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Kind, Result};
use crate::stop::Trigger;

/// Pulls `trigger` at the first signal and ends the process at the second. Called inside a runtime.
///
/// # Errors
///
/// [`Kind::Unavailable`] if signals cannot be watched.
pub fn watch(trigger: Trigger) -> Result<()> {
    let listen =
        |kind| signal(kind).map_err(|error| Error::new(Kind::Unavailable, "cannot watch for signals").because(error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let first = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = first, "stopping; a second signal ends at once");
        trigger.stop();
        let second = either(&mut terminate, &mut interrupt).await;
        // As a shell reports a process that died of the signal.
        std::process::exit(128 + second);
    });
    Ok(())
}

/// The number of whichever comes first.
async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
    }
}
