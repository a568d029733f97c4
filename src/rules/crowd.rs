//! Occupancy of one zone by one label: whether there was an object lately, and whether there are too many.

use super::nanoseconds;
use crate::config::CrowdSettings;

/// Occupancy by one label.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Occupancy {
    /// Objects in the zone.
    pub count: u32,
    /// Time of the last object.
    pub last_ns: Option<u64>,
    /// Time at which the crowd began, while there is one.
    pub crowded_ns: Option<u64>,
    /// Time since when the count has been on the other side of the limit.
    since_ns: Option<u64>,
}

/// Begin or end of a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrowdChange {
    /// A crowd that began at this time.
    Crowded(u64),
    /// The end of a crowd.
    Cleared {
        /// Time of its end.
        at_ns: u64,
        /// Time of its begin.
        since_ns: u64,
    },
}

impl Occupancy {
    /// Sets the number of objects at `now_ns`. A crowd begins and ends after the configured time.
    pub fn update(&mut self, count: u32, now_ns: u64, crowd: Option<CrowdSettings>) -> Option<CrowdChange> {
        self.count = count;
        if count > 0 {
            self.last_ns = Some(now_ns);
        }
        let is_crowd = crowd.is_some_and(|crowd| count > crowd.limit);
        if is_crowd == self.crowded_ns.is_some() {
            self.since_ns = None;
            return None;
        }
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        // A limit that is gone ends its crowd at once.
        let delay_ns = crowd.map_or(0, |crowd| nanoseconds(crowd.time));
        if now_ns.saturating_sub(since_ns) < delay_ns {
            return None;
        }
        self.since_ns = None;
        match self.crowded_ns.take() {
            Some(begun_ns) => Some(CrowdChange::Cleared { at_ns: since_ns, since_ns: begun_ns }),
            None => {
                self.crowded_ns = Some(since_ns);
                Some(CrowdChange::Crowded(since_ns))
            }
        }
    }

    /// True if there was an object within `delay_ns`.
    pub fn is_occupied(&self, now_ns: u64, delay_ns: u64) -> bool {
        self.last_ns.is_some_and(|last| now_ns.saturating_sub(last) <= delay_ns)
    }
}
