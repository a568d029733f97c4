//! Who we are and whether our clock is right: what every message carries.

use std::path::Path;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use sha2::{Digest, Sha256};

/// Fixed for one life of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the device.
    pub device: String,
    /// The kernel's own id of this boot.
    pub boot_id: String,
}

/// Mixed into the hash so that our ids cannot be matched with those another program makes from the same machine-id,
/// which is meant to stay secret.
const APPLICATION: &[u8] = b"lookout device id 1\0";

impl Identity {
    /// The identity of this machine, under the name its owner gave it, if any.
    pub fn of_machine(given: Option<&str>) -> Self {
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let device = given.map_or_else(device_id, str::to_owned);
        Self { device, boot_id }
    }
}

/// Twelve hexadecimal digits from /etc/machine-id; from the host's name where there is none.
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

/// How long ago this process was started, by the kernel's account, to the hundredth of a second.
pub fn process_age() -> Option<Duration> {
    let stat = read("/proc/self/stat");
    // Field 22; the second one, in brackets, may hold anything.
    let began: u64 = stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()?;
    let began = Duration::from_secs_f64(began as f64 / rustix::param::clock_ticks_per_second() as f64);
    Duration::from_nanos(SystemClock.boot_ns()).checked_sub(began)
}

/// Whether wall time comes from a source known to be right. systemd-timesyncd leaves this file behind once it has set
/// the clock; the kernel's own flag (`adjtimex`) cannot be read without `unsafe` here, so with another time client
/// this is `false`: rather too modest than wrong.
pub fn clock_synchronized() -> bool {
    Path::new("/run/systemd/timesync/synchronized").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_stable_and_does_not_show_the_machine() {
        assert_eq!(hashed("0123456789abcdef"), hashed("0123456789abcdef"));
        assert_ne!(hashed("0123456789abcdef"), hashed("0123456789abcdee"));
        assert_eq!(hashed("x").len(), 12);
        assert_eq!(Identity::of_machine(Some("gate")).device, "gate");
    }
}
