//! V4L2 controls by name.
//!
//! In: names and values of the configuration. Out: the controls, set and read back; or an error that lists the available
//! ones. A name is the driver's, or its `v4l2-ctl` form in lower case with `_`.

use std::collections::BTreeMap;

use v4l::control::Flags;
use v4l::v4l_sys as sys;

use super::device::Device;
use super::ioctl::{CONTROL, CONTROLS, MENU, SET_CONTROL, text, zeroed};
use crate::error::{Error, Kind, Result};

/// Limit of controls, and of menu items of a control.
const LIMIT: usize = 1024;

/// Values of a control.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// An integer with a step.
    Integer,
    /// A boolean, 0 or 1.
    Boolean,
    /// A menu: items by number.
    Menu(Vec<(i64, String)>),
    /// A button: any value triggers it.
    Button,
}

/// A control.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    id: u32,
    /// Name in lower case with `_`.
    pub name: String,
    /// Allowed values.
    pub values: Values,
    /// Minimum, maximum, step and default.
    pub range: (i64, i64, u64, i64),
    /// Current value; `None` if not readable.
    pub value: Option<i64>,
    /// True if read-only.
    pub is_read_only: bool,
    /// True if inactive until another control is set.
    pub is_inactive: bool,
}

/// `name` in lower case, with `_` for each run of other characters.
fn normalized(name: &str) -> String {
    let menu_items = name.split(|c: char| !c.is_alphanumeric()).filter(|item| !item.is_empty());
    menu_items.map(str::to_lowercase).collect::<Vec<_>>().join("_")
}

/// All numeric controls of `device`.
pub fn list(device: &Device) -> Vec<Control> {
    let mut controls = Vec::new();
    let mut id = 0;
    while controls.len() < LIMIT {
        let mut query = sys::v4l2_query_ext_ctrl { id: id | Flags::NEXT_CTRL.bits(), ..zeroed() };
        // An id that does not increase would cause an endless loop.
        if device.node.ioctl(CONTROLS, &mut query).is_err() || query.id <= id {
            break;
        }
        id = query.id;
        let flags = Flags::from_bits_truncate(query.flags);
        let values = match query.type_ {
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK => Values::Integer,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN => Values::Boolean,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BUTTON => Values::Button,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU => {
                Values::Menu(menu_items(device, &query))
            }
            _ => continue,
        };
        if flags.contains(Flags::DISABLED) {
            continue;
        }
        let name: Vec<u8> = query.name.iter().map(|&byte| byte as u8).collect();
        let value = if matches!(values, Values::Button) { None } else { read(device, id) };
        controls.push(Control {
            id,
            name: normalized(&text(&name)),
            values,
            range: (query.minimum, query.maximum, query.step, query.default_value),
            value,
            is_read_only: flags.contains(Flags::READ_ONLY),
            is_inactive: flags.contains(Flags::INACTIVE),
        });
    }
    controls
}

fn menu_items(device: &Device, query: &sys::v4l2_query_ext_ctrl) -> Vec<(i64, String)> {
    let is_number = query.type_ == sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU;
    let mut menu_items = Vec::new();
    for index in (query.minimum.max(0)..=query.maximum).take(LIMIT) {
        let mut menu = sys::v4l2_querymenu { id: query.id, index: index as u32, ..zeroed() };
        // Menus may have gaps.
        if device.node.ioctl(MENU, &mut menu).is_err() {
            continue;
        }
        // SAFETY: the kernel filled in the part that belongs to the type; both are plain bytes.
        let item = unsafe {
            let (name, value) = (menu.__bindgen_anon_1.name, menu.__bindgen_anon_1.value);
            if is_number { value.to_string() } else { text(&name) }
        };
        menu_items.push((index, item));
    }
    menu_items
}

fn read(device: &Device, id: u32) -> Option<i64> {
    let mut control = sys::v4l2_control { id, ..zeroed() };
    device.node.ioctl(CONTROL, &mut control).ok().map(|()| i64::from(control.value))
}

/// Sets controls and reads each back. Controls that depend on others are retried.
///
/// # Errors
/// [`Kind::Config`] for an unknown name (with the list of names) and a value out of range;
/// [`Kind::Unavailable`] if the driver refuses.
pub fn set(device: &Device, values: &BTreeMap<String, i64>) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let available = list(device);
    let mut pending = values.iter().map(|(name, &value)| check(&available, name, value)).collect::<Result<Vec<_>>>();
    let device_path = device.path.display();
    let pending =
        pending.as_mut().map_err(|error| std::mem::replace(error, Error::new(Kind::Config, "")).at(&device_path))?;
    while !pending.is_empty() {
        let before = pending.len();
        let mut refused = None;
        pending.retain(|&(control, value)| {
            let mut request = sys::v4l2_control { id: control.id, value: value as i32 };
            match device.node.ioctl(SET_CONTROL, &mut request) {
                Ok(()) => {
                    report_set(device, control, value);
                    false
                }
                Err(error) => {
                    refused = Some((control, value, error));
                    true
                }
            }
        });
        if let (true, Some((control, value, error))) = (pending.len() == before, refused) {
            let text = format!("{device_path}: the driver refuses {} = {value}", control.name);
            return Err(Error::new(Kind::Unavailable, text).because(error));
        }
    }
    Ok(())
}

/// Logs a control that was set, with a warning if the driver set another value.
fn report_set(device: &Device, control: &Control, value: i64) {
    let camera = device.path.display().to_string();
    let name = &control.name;
    match read(device, control.id) {
        Some(now) if now != value && !matches!(control.values, Values::Button) => {
            tracing::warn!(
                device = camera,
                control = name,
                wanted = value,
                value = now,
                "the driver set another value"
            );
        }
        _ => tracing::debug!(device = camera, control = name, value, "control set"),
    }
}

/// The control `name`, if `value` is allowed.
fn check<'a>(available: &'a [Control], name: &str, value: i64) -> Result<(&'a Control, i64)> {
    let refuse = |text: String| Err(Error::new(Kind::Config, text));
    let Some(control) = available.iter().find(|control| control.name == normalized(name)) else {
        let names: Vec<_> =
            available.iter().filter(|control| !control.is_read_only).map(|control| control.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return refuse(format!("there is no control \"{name}\"; this camera has {names}"));
    };
    if control.is_read_only {
        return refuse(format!("control {name} can only be read"));
    }
    let (min, max, ..) = control.range;
    match &control.values {
        Values::Menu(menu_items) if !menu_items.iter().any(|(number, _)| *number == value) => {
            let menu_items: Vec<_> = menu_items.iter().map(|(number, item)| format!("{number} ({item})")).collect();
            refuse(format!("control {name} cannot be {value}; it can be {}", menu_items.join(", ")))
        }
        Values::Integer | Values::Boolean if !(min..=max).contains(&value) => {
            refuse(format!("control {name} cannot be {value}; it can be {min} to {max}"))
        }
        _ => Ok((control, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, values: Values, range: (i64, i64, u64, i64)) -> Control {
        Control { id: 1, name: name.into(), values, range, value: None, is_read_only: false, is_inactive: false }
    }

    #[test]
    fn names_are_written_as_the_tools_write_them() {
        assert_eq!(normalized("White Balance, Automatic"), "white_balance_automatic");
        assert_eq!(normalized("exposure_time_absolute"), "exposure_time_absolute");
        assert_eq!(normalized(" 1 Gain (dB) "), "1_gain_db");
    }

    #[test]
    fn a_wrong_name_or_value_lists_what_there_is() {
        let available = [
            control("brightness", Values::Integer, (0, 255, 1, 128)),
            control("exposure_auto", Values::Menu(vec![(1, "Manual".into()), (3, "Aperture".into())]), (0, 3, 1, 3)),
            Control { is_read_only: true, ..control("privacy", Values::Boolean, (0, 1, 1, 0)) },
        ];
        let message = |name: &str, value| check(&available, name, value).unwrap_err().message().to_owned();
        assert_eq!(message("bright", 1), "there is no control \"bright\"; this camera has brightness, exposure_auto");
        assert_eq!(message("brightness", 256), "control brightness cannot be 256; it can be 0 to 255");
        assert_eq!(
            message("exposure_auto", 2),
            "control exposure_auto cannot be 2; it can be 1 (Manual), 3 (Aperture)"
        );
        assert_eq!(message("privacy", 1), "control privacy can only be read");
        assert_eq!(check(&available, "Exposure, Auto", 1).unwrap().0.name, "exposure_auto");
    }
}
