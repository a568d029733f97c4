//! Verbs of the monitor on the control socket: `drift`, `recalibrate` and `generations`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::monitor::{LatestPass, Models};
use crate::sync::IgnorePoison;

/// The generations, once a quantized model serves.
type SharedModels = Arc<Mutex<Option<Arc<Models>>>>;

/// Registers the verbs.
pub fn register(
    control: &Control,
    models: SharedModels,
    recalibration_requested: Arc<AtomicBool>,
    view: Arc<LatestPass>,
) {
    control.register("drift", move |args| match args.get("series").and_then(Value::as_bool) {
        Some(true) => Ok(view.series()),
        _ => Ok(view.table()),
    });
    let known = Arc::clone(&models);
    control.register("recalibrate", move |_| {
        let models = serving(&known)?;
        let pinned = models.generations().pinned();
        if let Some(pinned) = pinned {
            let text = format!("generation {pinned} is pinned: free it first, with `lookout generations pin --none`");
            return Err(Error::new(Kind::Unavailable, text));
        }
        recalibration_requested.store(true, Ordering::SeqCst);
        Ok(json!({ "begun": true, "serving": models.serving().generation }))
    });
    control.register("generations", move |args| generations(&*serving(&models)?, &args));
}

fn serving(models: &SharedModels) -> Result<Arc<Models>> {
    let known = models.lock().ignore_poison().clone();
    known.ok_or_else(|| Error::new(Kind::Unavailable, "no quantized model serves yet"))
}

fn generations(models: &Models, args: &Value) -> Result<Value> {
    let number = |name: &str| match args.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::new(Kind::Usage, format!("{name} is {value}; it must be the number of a generation"))),
        },
    };
    let needed = |name: &'static str| {
        number(name)?.ok_or_else(|| Error::new(Kind::Usage, format!("{name} is missing: the number of a generation")))
    };
    match args.get("do").and_then(Value::as_str).unwrap_or("list") {
        "list" => as_json(&models.generations().list()),
        "compare" => as_json(&models.compare(needed("one")?, needed("other")?)?),
        "pin" => {
            models.pin(number("generation")?)?;
            as_json(&models.generations().list())
        }
        "rollback" => {
            models.roll_back("asked for", Value::Null)?;
            as_json(&models.generations().list())
        }
        other => {
            let text = format!("generations cannot {other:?}; it can list, compare, pin, rollback");
            Err(Error::new(Kind::Usage, text))
        }
    }
}

fn as_json(answer: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(answer).map_err(|source| Error::new(Kind::Internal, "the answer is no JSON").because(source))
}
