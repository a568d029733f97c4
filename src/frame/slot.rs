//! Slots between capture and detection: one a camera, which holds the newest frame only.
//!
//! In: frames, from one thread a camera. Out: frames, to the detector thread, round-robin over cameras. There is no
//! queue. A new frame replaces one that was not taken yet, and `put` returns the old one so that the drop is counted. A
//! lossless source waits until the detector requests a frame.

use std::sync::{Condvar, Mutex, MutexGuard};

use jiff::Timestamp;

use super::Image;

use crate::sync::IgnorePoison;

/// An image with its capture time and sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The image.
    pub image: Image,
    /// Number among the camera's captured frames, from 1; a gap is a frame that was dropped and counted.
    pub sequence: u64,
    /// Wall time of capture.
    pub captured_at: Timestamp,
    /// Time of capture, nanoseconds of `CLOCK_MONOTONIC`.
    pub captured_monotonic_ns: u64,
}

/// Slots of all cameras, with one consumer.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<SlotsState>,
    changed: Condvar,
}

#[derive(Debug)]
struct SlotsState {
    slots: Vec<Slot>,
    /// Camera served last; round-robin continues after it.
    last_served: usize,
    /// The consumer waits for a frame.
    is_requested: bool,
    /// No frame is accepted or returned any more.
    stopped: bool,
}

#[derive(Debug, Default)]
struct Slot {
    frame: Option<Frame>,
    closed: bool,
    /// The camera was removed: no frame is accepted.
    removed: bool,
}

/// Result of [`Slots::put`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The frame waits for the detector.
    Accepted,
    /// The frame replaced this one, which is dropped.
    Replaced(Frame),
    /// The slots were stopped or the camera was removed: the frame is dropped.
    Stopped,
}

impl Slots {
    /// Empty slots for `cameras` cameras.
    pub fn new(cameras: usize) -> Self {
        let slots = std::iter::repeat_with(Slot::default).take(cameras).collect();
        Self {
            state: Mutex::new(SlotsState { slots, last_served: 0, is_requested: false, stopped: false }),
            changed: Condvar::new(),
        }
    }

    /// Adds an empty slot and returns its index.
    pub fn add(&self) -> usize {
        let mut state = self.lock();
        state.slots.push(Slot::default());
        state.slots.len() - 1
    }

    /// Removes `camera`: its frames are no longer accepted, and a waiting frame is dropped. Returns true if there was
    /// one.
    ///
    /// # Panics
    ///
    /// If there is no such camera.
    pub fn remove(&self, camera: usize) -> bool {
        let mut state = self.lock();
        let slot = &mut state.slots[camera];
        slot.closed = true;
        slot.removed = true;
        let waited = slot.frame.take().is_some();
        drop(state);
        self.changed.notify_all();
        waited
    }

    fn lock(&self) -> MutexGuard<'_, SlotsState> {
        self.state.lock().ignore_poison()
    }

    /// Stores the newest frame of `camera`. Never blocks on the detector.
    ///
    /// # Panics
    ///
    /// If there is no such camera.
    pub fn put(&self, camera: usize, frame: Frame) -> Put {
        let mut state = self.lock();
        if state.stopped || state.slots[camera].removed {
            return Put::Stopped;
        }
        let stale = state.slots[camera].frame.replace(frame);
        drop(state);
        self.changed.notify_all();
        stale.map_or(Put::Accepted, Put::Replaced)
    }

    /// Blocks until the detector requests a frame and the slot of `camera` is empty, so that a put replaces nothing.
    /// Returns false if the slots were stopped or the camera was removed.
    ///
    /// # Panics
    ///
    /// If there is no such camera.
    pub fn wait_until_requested(&self, camera: usize) -> bool {
        let mut state = self.lock();
        let is_over = |state: &SlotsState| state.stopped || state.slots[camera].removed;
        while !is_over(&state) && (!state.is_requested || state.slots[camera].frame.is_some()) {
            state = self.changed.wait(state).ignore_poison();
        }
        !is_over(&state)
    }

    /// Marks `camera` as ended. A waiting frame is still delivered.
    ///
    /// # Panics
    ///
    /// If there is no such camera.
    pub fn close(&self, camera: usize) {
        self.lock().slots[camera].closed = true;
        self.changed.notify_all();
    }

    /// Stops all slots. Waiting frames are dropped; returns the cameras they came from.
    pub fn stop(&self) -> Vec<usize> {
        let mut state = self.lock();
        state.stopped = true;
        let lost = state.slots.iter_mut().enumerate().filter_map(|(camera, slot)| slot.frame.take().map(|_| camera));
        let lost = lost.collect();
        drop(state);
        self.changed.notify_all();
        lost
    }

    /// Blocks until a camera has a frame, and takes it, round-robin over cameras. `None` once the slots were stopped, or all
    /// cameras have ended and all slots are empty.
    pub fn take(&self) -> Option<(usize, Frame)> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let count = state.slots.len();
            for turn in 1..=count {
                let camera = (state.last_served + turn) % count;
                if let Some(frame) = state.slots[camera].frame.take() {
                    state.last_served = camera;
                    state.is_requested = false;
                    return Some((camera, frame));
                }
            }
            if state.slots.iter().all(|slot| slot.closed) {
                return None;
            }
            if !state.is_requested {
                state.is_requested = true;
                self.changed.notify_all();
            }
            state = self.changed.wait(state).ignore_poison();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Picture;

    fn frame(sequence: u64) -> Frame {
        Frame {
            image: Picture::filled(1, 1, [0; 3]).into(),
            sequence,
            captured_at: Timestamp::UNIX_EPOCH,
            captured_monotonic_ns: 0,
        }
    }

    #[test]
    fn the_newest_frame_wins_and_the_older_comes_back() {
        let slots = Slots::new(1);
        assert_eq!(slots.put(0, frame(1)), Put::Accepted);
        assert_eq!(slots.put(0, frame(2)), Put::Replaced(frame(1)));
        assert_eq!(slots.take(), Some((0, frame(2))));
        slots.close(0);
        assert_eq!(slots.take(), None);
    }

    #[test]
    fn cameras_take_turns() {
        let slots = Slots::new(3);
        let mut order = Vec::new();
        for sequence in 0..4 {
            for camera in [0, 2] {
                slots.put(camera, frame(sequence));
            }
            order.extend(slots.take().map(|(camera, _)| camera));
        }
        assert_eq!(order, [2, 0, 2, 0]);
    }

    #[test]
    fn what_was_left_behind_by_a_closed_camera_is_taken() {
        let slots = Slots::new(2);
        slots.put(1, frame(7));
        slots.close(0);
        slots.close(1);
        assert_eq!(slots.take(), Some((1, frame(7))));
        assert_eq!(slots.take(), None);
    }

    #[test]
    fn a_patient_source_loses_nothing() {
        let slots = Slots::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for sequence in 0..100 {
                    assert!(slots.wait_until_requested(0));
                    assert_eq!(slots.put(0, frame(sequence)), Put::Accepted);
                }
                slots.close(0);
            });
            let taken: Vec<u64> = std::iter::from_fn(|| slots.take()).map(|(_, frame)| frame.sequence).collect();
            assert_eq!(taken, (0..100).collect::<Vec<_>>());
        });
    }

    #[test]
    fn cameras_come_and_go() {
        let slots = Slots::new(1);
        slots.put(0, frame(1));
        assert_eq!(slots.add(), 1);
        slots.put(1, frame(2));
        assert!(slots.remove(0) && !slots.remove(0));
        assert_eq!(slots.put(0, frame(3)), Put::Stopped);
        assert!(!slots.wait_until_requested(0));
        assert_eq!(slots.take(), Some((1, frame(2))));
        slots.close(1);
        assert_eq!(slots.take(), None);
    }

    #[test]
    fn shutting_wakes_both_sides() {
        let slots = Slots::new(1);
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| slots.wait_until_requested(0));
            assert!(slots.stop().is_empty());
            assert!(!patient.join().unwrap());
            assert_eq!(slots.take(), None);
            assert_eq!(slots.put(0, frame(1)), Put::Stopped);
        });
    }
}
