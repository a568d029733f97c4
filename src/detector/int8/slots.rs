//! Assignment of outputs to buffers: outputs whose lifetimes do not overlap share a buffer.
//!
//! In: the size and lifetime of every output. Out: a slot number for each, and the sizes of the slots. Largest first,
//! each goes into the smallest slot that is free during its whole lifetime. The graph is static, so this runs once a
//! canvas size, and nothing is allocated during detection.

use std::ops::RangeInclusive;

/// Size and lifetime of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    /// Number of values.
    pub len: usize,
    /// From the step that writes it to the last one that reads it.
    pub steps: RangeInclusive<usize>,
}

/// Slot of every output, and size of every slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BufferSlots {
    /// By output: its slot; `None` without memory.
    pub of: Vec<Option<usize>>,
    /// By slot: its number of values.
    pub sizes: Vec<usize>,
}

impl BufferSlots {
    /// Assigns slots to outputs; `None` needs no memory.
    pub fn assign(outputs: &[Option<Lifetime>]) -> Self {
        // Largest first, so that a slot is never too small for a later output.
        let mut order: Vec<usize> = (0..outputs.len()).filter(|&i| outputs[i].is_some()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(outputs[i].as_ref().map_or(0, |output| output.len)));
        let mut slots = Self { of: vec![None; outputs.len()], sizes: Vec::new() };
        let mut occupied: Vec<Vec<RangeInclusive<usize>>> = Vec::new();
        for index in order {
            let Some(output) = &outputs[index] else { continue };
            let is_free = |slot: &usize| {
                let others = &occupied[*slot];
                others.iter().all(|steps| steps.end() < output.steps.start() || output.steps.end() < steps.start())
            };
            // Slots were opened largest first, so the last free one is the smallest.
            let slot = (0..occupied.len()).rev().find(is_free).unwrap_or_else(|| {
                slots.sizes.push(output.len);
                occupied.push(Vec::new());
                occupied.len() - 1
            });
            occupied[slot].push(output.steps.clone());
            slots.of[index] = Some(slot);
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_two_buffers() {
        let outputs: Vec<_> = (0..6).map(|i| Some(Lifetime { len: 100 - i, steps: i..=i + 1 })).collect();
        let slots = BufferSlots::assign(&outputs);
        assert_eq!(slots.sizes, [100, 99]);
    }

    proptest! {
        #[test]
        fn lifetimes_in_one_slot_never_overlap(raw in prop::collection::vec((0usize..50, 0usize..40, 0usize..9), 0..60)) {
            let outputs: Vec<_> = raw.iter()
                .map(|&(len, start, steps)| (len > 0).then_some(Lifetime { len, steps: start..=start + steps }))
                .collect();
            let slots = BufferSlots::assign(&outputs);
            for (i, a) in outputs.iter().enumerate() {
                prop_assert_eq!(a.is_some(), slots.of[i].is_some());
                let (Some(a), Some(slot)) = (a, slots.of[i]) else { continue };
                prop_assert!(slots.sizes[slot] >= a.len);
                for (j, b) in outputs.iter().enumerate().skip(i + 1) {
                    let Some(b) = b else { continue };
                    let apart = a.steps.end() < b.steps.start() || b.steps.end() < a.steps.start();
                    prop_assert!(apart || slots.of[j] != Some(slot), "{i} and {j} share {slot}");
                }
            }
        }
    }
}
