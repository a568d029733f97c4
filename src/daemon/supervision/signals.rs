//! Signals: SIGTERM and SIGINT stop the service, SIGHUP reloads the configuration.
//!
//! The first SIGTERM or SIGINT stops in order, the second one ends the process at once. While a model is being loaded or
//! quantized there is nothing to stop in order, so the first one ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::stop::StopTrigger;

/// Starts the tasks that wait for signals, on the current runtime. `trigger` is the token that the first signal stops;
/// `starting` is true while a model is being loaded.
///
/// # Errors
///
/// [`Kind::Unavailable`] if no handler can be installed.
pub fn watch(trigger: StopTrigger, control: Control, starting: Arc<AtomicBool>) -> Result<()> {
    let listen = |kind| {
        signal(kind).map_err(|error| Error::new(Kind::Unavailable, "cannot install signal handlers").because(error))
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let control = control.clone();
            // A run reports the outcome too; between two runs this is the only report.
            let outcome = tokio::task::spawn_blocking(move || control.call("reload", serde_json::Value::Null)).await;
            if let Ok(Err(error)) = outcome {
                tracing::warn!(error = error.chain(), "SIGHUP changed nothing");
            }
        }
    });
    tokio::spawn(async move {
        let first = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = first, "stopping; a second signal ends at once");
        trigger.stop();
        if starting.load(Ordering::SeqCst) {
            std::process::exit(0);
        }
        let second = next(&mut terminate, &mut interrupt).await;
        // The exit code that a shell reports for a process killed by the signal.
        std::process::exit(128 + second);
    });
    Ok(())
}

/// The number of the next signal of the two.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
    }
}
