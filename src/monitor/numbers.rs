//! Rounding of the numbers in log lines, events and the status.

use serde::Serialize;
use serde_json::Value;

/// `value` rounded to three decimals; further digits are noise.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// `value` as JSON, with every float rounded to three decimals.
pub fn rounded_value(value: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or(Value::Null);
    round_all(&mut value);
    value
}

fn round_all(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
                *value = rounded(float).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(round_all),
        Value::Object(fields) => fields.values_mut().for_each(round_all),
        _ => {}
    }
}
