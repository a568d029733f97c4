//! Which buffer each step's output goes to, so that outputs whose lives do not overlap share memory.
//!
//! In: the size and life of every output. Out: a slot number for each, and the slots' sizes. Largest first, each into
//! the smallest slot that is free for its whole life: the graph is static, so this is planned once a canvas size and
//! nothing is allocated while detecting.

use std::ops::RangeInclusive;

/// One output that needs memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Values it needs room for.
    pub len: usize,
    /// First step at which it exists (the one that writes it) to the last one that reads it.
    pub life: RangeInclusive<usize>,
}

/// The plan: where each tenant lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// The slot of each tenant; `None` where there is nothing to store.
    pub of: Vec<Option<usize>>,
    /// Values each slot has room for.
    pub sizes: Vec<usize>,
}

impl Slots {
    /// Plans slots for `tenants`; `None` needs no memory.
    pub fn plan(tenants: &[Option<Tenant>]) -> Self {
        let mut order: Vec<usize> = (0..tenants.len()).filter(|&i| tenants[i].is_some()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(tenants[i].as_ref().map_or(0, |tenant| tenant.len)));
        let mut slots = Self { of: vec![None; tenants.len()], sizes: Vec::new() };
        let mut lives: Vec<Vec<RangeInclusive<usize>>> = Vec::new();
        for index in order {
            let Some(tenant) = &tenants[index] else { continue };
            let is_free = |slot: &usize| {
                let taken = &lives[*slot];
                taken.iter().all(|life| life.end() < tenant.life.start() || tenant.life.end() < life.start())
            };
            // Slots were opened largest first, so the last free one wastes least.
            let slot = (0..lives.len()).rev().find(is_free).unwrap_or_else(|| {
                slots.sizes.push(tenant.len);
                lives.push(Vec::new());
                lives.len() - 1
            });
            lives[slot].push(tenant.life.clone());
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
        let tenants: Vec<_> = (0..6).map(|i| Some(Tenant { len: 100 - i, life: i..=i + 1 })).collect();
        let slots = Slots::plan(&tenants);
        assert_eq!(slots.sizes, [100, 99]);
    }

    proptest! {
        #[test]
        fn lives_in_one_slot_never_meet(raw in prop::collection::vec((0usize..50, 0usize..40, 0usize..9), 0..60)) {
            let tenants: Vec<_> = raw.iter()
                .map(|&(len, start, life)| (len > 0).then_some(Tenant { len, life: start..=start + life }))
                .collect();
            let slots = Slots::plan(&tenants);
            for (i, a) in tenants.iter().enumerate() {
                prop_assert_eq!(a.is_some(), slots.of[i].is_some());
                let (Some(a), Some(slot)) = (a, slots.of[i]) else { continue };
                prop_assert!(slots.sizes[slot] >= a.len);
                for (j, b) in tenants.iter().enumerate().skip(i + 1) {
                    let Some(b) = b else { continue };
                    let apart = a.life.end() < b.life.start() || b.life.end() < a.life.start();
                    prop_assert!(apart || slots.of[j] != Some(slot), "{i} and {j} share {slot}");
                }
            }
        }
    }
}
