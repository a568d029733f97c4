//! SIGTERM and SIGINT: the first one stops in order, the second one at once; while a model is still being loaded or
//! quantized there is nothing to be stopped in order, and the first one ends it. SIGHUP reads the configuration again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::stop::Trigger;

/// Pulls `trigger` at the first signal and ends the process at the second, or at the first if `starting`. Called inside
/// a runtime.
///
/// # Errors
///
/// [`Kind::Unavailable`] if signals cannot be watched.
pub fn watch(trigger: Trigger, control: Control, starting: Arc<AtomicBool>) -> Result<()> {
    let listen =
        |kind| signal(kind).map_err(|error| Error::new(Kind::Unavailable, "cannot watch for signals").because(error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let control = control.clone();
            // Whatever a life makes of it is told there as well.
            let outcome = tokio::task::spawn_blocking(move || control.call("reload", serde_json::Value::Null)).await;
            if let Ok(Err(error)) = outcome {
                tracing::warn!(error = error.chain(), "SIGHUP changed nothing");
            }
        }
    });
    tokio::spawn(async move {
        let first = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = first, "stopping; a second signal ends at once");
        trigger.stop();
        if starting.load(Ordering::SeqCst) {
            std::process::exit(0);
        }
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
