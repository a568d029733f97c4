//! Rate limit of a log line that others can cause.

/// Length of a window, in nanoseconds.
const WINDOW_NS: u64 = 60_000_000_000;

/// Allows some lines a minute and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    lines_per_minute: u32,
    window_start_ns: Option<u64>,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Allows `lines_per_minute` lines in each minute that begins with a line.
    pub const fn new(lines_per_minute: u32) -> Self {
        Self { lines_per_minute, window_start_ns: None, lines: 0, suppressed: 0 }
    }

    /// Returns the number of lines suppressed since the last one, if a line may be written at `now_ns`, monotonic time.
    pub fn allow(&mut self, now_ns: u64) -> Option<u64> {
        if self.window_start_ns.is_none_or(|start_ns| now_ns.saturating_sub(start_ns) >= WINDOW_NS) {
            self.window_start_ns = Some(now_ns);
            self.lines = 0;
        }
        if self.lines >= self.lines_per_minute {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_in_the_next_one() {
        let second_ns = WINDOW_NS / 60;
        let mut limit = LogLimit::new(2);
        assert_eq!([0, 1, 2, 3].map(|second| limit.allow(second * second_ns)), [Some(0), Some(0), None, None]);
        assert_eq!(limit.allow(59 * second_ns), None);
        assert_eq!([60, 61, 62].map(|second| limit.allow(second * second_ns)), [Some(3), Some(0), None]);
        assert_eq!(limit.allow(500 * second_ns), Some(1));
    }
}
