//! Identity of the device: fields of every message.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::{Clock, SystemClock};

/// Identity of the device; it does not change while the process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the device.
    pub device: String,
    /// The kernel's id of this boot.
    pub boot_id: String,
}

/// Salt of the hash. The machine-id is confidential (machine-id(5)); with the salt the device id cannot be matched with
/// the ids that other programs derive from it.
const APPLICATION: &[u8] = b"lookout device id 1\0";

impl Identity {
    /// The identity of this machine. `name` is the configured device name, if there is one.
    pub fn of_machine(name: Option<&str>) -> Self {
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let device = name.map_or_else(device_id, str::to_owned);
        Self { device, boot_id }
    }
}

/// Twelve hexadecimal digits, derived from /etc/machine-id, or from the host name without that file.
fn device_id() -> String {
    let machine = match read("/etc/machine-id") {
        empty if empty.is_empty() => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        id => id,
    };
    hashed(&machine)
}

fn hashed(machine: &str) -> String {
    let hash = Sha256::new().chain_update(APPLICATION).chain_update(machine).finalize();
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Time since the start of this process, from the kernel's statistics, to the hundredth of a second.
pub fn process_age() -> Option<Duration> {
    let stat = read("/proc/self/stat");
    // `starttime` is field 22. Field 2, the program's name in parentheses, may contain spaces.
    let started: u64 = stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()?;
    let started = Duration::from_secs_f64(started as f64 / rustix::param::clock_ticks_per_second() as f64);
    Duration::from_nanos(SystemClock.boot_ns()).checked_sub(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_stable_and_does_not_reveal_the_machine_id() {
        assert_eq!(hashed("0123456789abcdef"), hashed("0123456789abcdef"));
        assert_ne!(hashed("0123456789abcdef"), hashed("0123456789abcdee"));
        assert_eq!(hashed("x").len(), 12);
        assert_eq!(Identity::of_machine(Some("gate")).device, "gate");
    }
}
