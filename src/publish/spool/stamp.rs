//! Timestamps that give correct ages although wall time may jump. Within a boot the monotonic clock counts; across boots
//! wall time does, if both readings are plausible.

use std::time::Duration;

use crate::clock::Clock;

/// Time on both clocks, and the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub(super) boot: u64,
    pub(super) monotonic_ns: u64,
    pub(super) wall_s: i64,
}

/// 2026-01-01, in seconds since 1970. An earlier clock has not been set.
const EARLIEST_PLAUSIBLE_S: i64 = 1_767_225_600;

/// Hash of a boot id.
pub fn boot(boot_id: &str) -> u64 {
    // FNV-1a; a collision between boots of one board is improbable.
    boot_id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Stamp {
    /// The current time in boot `boot`.
    pub fn now(clock: &dyn Clock, boot: u64) -> Self {
        Self { boot, monotonic_ns: clock.monotonic_ns(), wall_s: clock.wall().as_second() }
    }

    /// Age at `now`. Zero if unknown, since a message that may be recent must not be dropped.
    pub fn age(&self, now: &Self) -> Duration {
        if self.boot == now.boot {
            return Duration::from_nanos(now.monotonic_ns.saturating_sub(self.monotonic_ns));
        }
        let is_plausible = self.wall_s >= EARLIEST_PLAUSIBLE_S && now.wall_s >= EARLIEST_PLAUSIBLE_S;
        let seconds = u64::try_from(now.wall_s.saturating_sub(self.wall_s)).unwrap_or(0);
        // It was written before this boot, so it is at least as old as this boot.
        let boot_age = Duration::from_nanos(now.monotonic_ns);
        if is_plausible { Duration::from_secs(seconds).max(boot_age) } else { boot_age }
    }

    /// Encodes the timestamp in 24 bytes.
    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.boot.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.monotonic_ns.to_le_bytes());
        bytes[16..].copy_from_slice(&self.wall_s.to_le_bytes());
        bytes
    }

    /// Decodes [`Stamp::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let part = |at: usize| bytes.get(at..at + 8)?.try_into().ok();
        Some(Self {
            boot: u64::from_le_bytes(part(0)?),
            monotonic_ns: u64::from_le_bytes(part(8)?),
            wall_s: i64::from_le_bytes(part(16)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_survives_a_jump_of_the_clock_and_a_boot_in_1970() {
        let at = |boot: u64, monotonic_s: u64, wall_s: i64| Stamp {
            boot,
            monotonic_ns: monotonic_s * 1_000_000_000,
            wall_s,
        };
        let now = at(1, 100, 1_800_000_000);
        assert_eq!(at(1, 90, 5).age(&now), Duration::from_secs(10));
        assert_eq!(at(1, 200, 5).age(&now), Duration::ZERO);
        assert_eq!(at(2, 90, 1_800_000_000 - 3600).age(&now), Duration::from_secs(3600));
        assert_eq!(at(2, 90, 50).age(&now), Duration::from_secs(100));
        assert_eq!(at(2, 90, 1_800_000_500).age(&now), Duration::from_secs(100));
        assert_eq!(Stamp::from_bytes(&now.to_bytes()), Some(now));
        assert_eq!(Stamp::from_bytes(&[0; 9]), None);
    }
}
