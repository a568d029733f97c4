//! Rest: whether an object stands still, and where.

/// Distance from its place, in box sizes, up to which an object is at rest.
const TOLERANCE: f32 = 0.15;
/// Time at one place after which an object stands still.
const SETTLE_NS: u64 = 5_000_000_000;
/// Time away from its place after which it moves again. A passing object that covers a part of it changes its box, too.
const DEPART_NS: u64 = 2_000_000_000;
/// Frames after which either can be said.
const FRAMES: u32 = 3;

/// Place of an object, and whether it stands still.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rest {
    /// Its box at that place.
    place: [f32; 4],
    since_ns: u64,
    /// Frames at the place.
    frames: u32,
    /// Time of the first frame away from the place, and number of such frames.
    away: Option<(u64, u32)>,
    is_stationary: bool,
}

impl Rest {
    /// Rest of an object that is first seen.
    pub fn new(bbox: [f32; 4], now_ns: u64) -> Self {
        Self { place: bbox, since_ns: now_ns, frames: 0, away: None, is_stationary: false }
    }

    /// Takes a detection of the object.
    pub fn update(&mut self, bbox: [f32; 4], now_ns: u64) {
        let [x0, y0, x1, y1] = self.place;
        let size = ((x1 - x0) * (y1 - y0)).max(1.0).sqrt();
        let moved = (0..4).map(|side| (bbox[side] - self.place[side]).abs() / size);
        // Opposite sides move together, or the object comes nearer or goes away.
        if moved.fold(0.0, f32::max) <= TOLERANCE {
            self.frames = self.frames.saturating_add(1);
            self.away = None;
            self.is_stationary |= self.frames >= FRAMES && now_ns.saturating_sub(self.since_ns) >= SETTLE_NS;
            return;
        }
        let (since_ns, frames) = self.away.unwrap_or((now_ns, 0));
        self.away = Some((since_ns, frames.saturating_add(1)));
        let has_departed = frames + 1 >= FRAMES && now_ns.saturating_sub(since_ns) >= DEPART_NS;
        if !self.is_stationary || has_departed {
            *self = Self::new(bbox, now_ns);
        }
    }

    /// The place of an object that stands still.
    pub fn place(&self) -> Option<[f32; 4]> {
        self.is_stationary.then_some(self.place)
    }

    /// Changes the unit of lengths.
    pub fn rescale(&mut self, x: f32, y: f32) {
        let [x0, y0, x1, y1] = self.place;
        self.place = [x0 * x, y0 * y, x1 * x, y1 * y];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: [f32; 4] = [100.0, 100.0, 200.0, 150.0];
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_object_stands_still_after_some_seconds_and_moves_after_some() {
        let mut rest = Rest::new(BOX, 0);
        for step in 0..8 {
            rest.update(BOX.map(|side| side + 2.0 * (step % 2) as f32), step * SECOND);
            assert_eq!(rest.place().is_some(), step >= 5, "{step}");
        }
        // Half covered for a second.
        rest.update([100.0, 100.0, 150.0, 150.0], 8 * SECOND);
        rest.update(BOX, 9 * SECOND);
        assert_eq!(rest.place(), Some(BOX));
        for step in 10..14 {
            rest.update(BOX.map(|side| side + 30.0 * (step - 9) as f32), step * SECOND);
        }
        assert_eq!(rest.place(), None);
    }
}
