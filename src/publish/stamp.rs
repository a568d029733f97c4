//! Timestamps that give correct ages although wall time may jump.
//!
//! Within a boot the time since boot counts, suspend included; it never jumps. Across boots wall time counts, if it was
//! synchronized at both ends. Otherwise only a least age is known: the age of this boot.

use std::time::Duration;

use crate::clock::Clock;

/// Time on both clocks, and the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub(super) boot: u64,
    /// Nanoseconds since boot.
    pub(super) boot_ns: u64,
    /// Seconds since 1970; 0 while the clock was not synchronized.
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
        let wall_s = if clock.is_synchronized() { clock.wall().as_second() } else { 0 };
        Self { boot, boot_ns: clock.boot_ns(), wall_s }
    }

    /// A time of which only the wall clock's reading was stored, whether it was right or not.
    pub(super) fn of_wall(wall_s: i64) -> Self {
        Self { boot: 0, boot_ns: 0, wall_s }
    }

    /// True if wall time is known.
    pub(super) fn has_wall(&self) -> bool {
        self.wall_s >= EARLIEST_PLAUSIBLE_S
    }

    /// Age at `now`, or the least age if it is not known: a message that may be recent must not be dropped.
    pub fn age(&self, now: &Self) -> Duration {
        if self.boot == now.boot {
            return Duration::from_nanos(now.boot_ns.saturating_sub(self.boot_ns));
        }
        // It was written before this boot, so it is at least as old as this boot.
        let least = Duration::from_nanos(now.boot_ns);
        if !self.has_wall() || !now.has_wall() {
            return least;
        }
        let seconds = u64::try_from(now.wall_s.saturating_sub(self.wall_s)).unwrap_or(0);
        Duration::from_secs(seconds).max(least)
    }

    /// True if [`Stamp::age`] is the age at `now`, not the least age.
    pub(super) fn is_exact(&self, now: &Self) -> bool {
        self.boot == now.boot || self.has_wall() && now.has_wall() && self.boot != 0 && self.wall_s <= now.wall_s
    }

    /// The same time with its wall time, computed from `now` if both are of one boot.
    pub(super) fn with_wall(self, now: &Self) -> Self {
        if self.has_wall() || !now.has_wall() || self.boot != now.boot {
            return self;
        }
        let seconds = i64::try_from(self.age(now).as_secs()).unwrap_or(i64::MAX);
        Self { wall_s: now.wall_s.saturating_sub(seconds), ..self }
    }

    /// Encodes the timestamp in 24 bytes.
    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.boot.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.boot_ns.to_le_bytes());
        bytes[16..].copy_from_slice(&self.wall_s.to_le_bytes());
        bytes
    }

    /// Decodes [`Stamp::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let part = |at: usize| bytes.get(at..at + 8)?.try_into().ok();
        Some(Self {
            boot: u64::from_le_bytes(part(0)?),
            boot_ns: u64::from_le_bytes(part(8)?),
            wall_s: i64::from_le_bytes(part(16)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    fn at(boot: u64, since_boot_s: u64, wall_s: i64) -> Stamp {
        Stamp { boot, boot_ns: since_boot_s * 1_000_000_000, wall_s }
    }

    #[test]
    fn age_survives_a_jump_of_the_clock_and_a_boot_in_1970() {
        let now = at(1, 100, 1_800_000_000);
        assert_eq!(at(1, 90, 5).age(&now), Duration::from_secs(10));
        assert_eq!(at(1, 200, 5).age(&now), Duration::ZERO);
        assert_eq!(at(2, 90, 1_800_000_000 - 3600).age(&now), Duration::from_secs(3600));
        assert_eq!(at(2, 90, 50).age(&now), Duration::from_secs(100));
        assert_eq!(at(2, 90, 1_800_000_500).age(&now), Duration::from_secs(100));
        // While the clock is not synchronized, wall time does not count.
        assert_eq!(at(2, 90, 1_800_000_000 - 3600).age(&at(1, 100, 0)), Duration::from_secs(100));
        assert_eq!(Stamp::from_bytes(&now.to_bytes()), Some(now));
        assert_eq!(Stamp::from_bytes(&[0; 9]), None);
    }

    #[test]
    fn a_time_before_synchronization_is_computed_within_the_boot_alone() {
        let now = at(1, 100, 1_800_000_000);
        assert_eq!(at(1, 40, 0).with_wall(&now), at(1, 40, 1_800_000_000 - 60));
        assert_eq!(at(2, 40, 0).with_wall(&now), at(2, 40, 0));
        assert_eq!(at(1, 40, 1_799_999_999).with_wall(&now), at(1, 40, 1_799_999_999));
        let clock = SimulatedClock::default();
        clock.set_synchronized(false);
        clock.suspend(Duration::from_secs(60));
        assert_eq!(Stamp::now(&clock, 7), at(7, 60, 0));
        clock.set_synchronized(true);
        assert!(Stamp::now(&clock, 7).has_wall());
    }
}
