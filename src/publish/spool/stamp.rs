//! When something was put away, so that its age is right though wall time jumps: within one boot by the monotonic
//! clock, across boots by wall time where both readings can be believed.

use std::time::Duration;

use crate::clock::Clock;

/// Both clocks at one moment, and which boot it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub(super) boot: u64,
    pub(super) monotonic_ns: u64,
    pub(super) wall_s: i64,
}

/// 2026-01-01, in seconds since 1970: a board that believes it is earlier has not been told the time yet.
const BELIEVABLE_S: i64 = 1_767_225_600;

/// A short name for a boot id.
pub fn boot(boot_id: &str) -> u64 {
    // FNV-1a: equal for equal ids, and no two boots of one board meet by chance.
    boot_id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Stamp {
    /// Now, in the boot named `boot`.
    pub fn now(clock: &dyn Clock, boot: u64) -> Self {
        Self { boot, monotonic_ns: clock.monotonic_ns(), wall_s: clock.wall().as_second() }
    }

    /// How long before `now` this was; nothing where that cannot be told, for what may be new must not be thrown away.
    pub fn age(&self, now: &Self) -> Duration {
        if self.boot == now.boot {
            return Duration::from_nanos(now.monotonic_ns.saturating_sub(self.monotonic_ns));
        }
        let believable = self.wall_s >= BELIEVABLE_S && now.wall_s >= BELIEVABLE_S;
        let seconds = u64::try_from(now.wall_s.saturating_sub(self.wall_s)).unwrap_or(0);
        // At least as long as this boot has lasted: it was written before.
        let boot_age = Duration::from_nanos(now.monotonic_ns);
        if believable { Duration::from_secs(seconds).max(boot_age) } else { boot_age }
    }

    /// As 24 bytes.
    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.boot.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.monotonic_ns.to_le_bytes());
        bytes[16..].copy_from_slice(&self.wall_s.to_le_bytes());
        bytes
    }

    /// From what [`Stamp::to_bytes`] gave.
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
