//! Changes of the spool as records of its journal.

use std::collections::BTreeSet;

use super::{DropReason, Rank, SpoolCounts};
use crate::publish::stamp::Stamp;

/// Largest count or number of a message: sums of several of them stay within 64 bits.
const MAX_NUMBER: u64 = 1 << 53;

/// A message: rank, number, time and payload.
pub type Message<'a> = (Rank, u64, Stamp, &'a [u8]);

/// What changed since the record before.
#[derive(Debug, PartialEq)]
pub struct Change<'a> {
    /// All counts after the change.
    pub counts: SpoolCounts,
    /// Messages that no longer wait.
    pub removed: BTreeSet<u64>,
    /// New messages.
    pub fresh: Vec<Message<'a>>,
}

impl<'a> Change<'a> {
    /// Payload of the record. All numbers are little endian, with their bytes in brackets:
    ///
    /// - produced, delivered and the dropped by reason (8 each),
    /// - how many are removed (4), and their numbers (8 each),
    /// - for each new message its rank (1), number (8), timestamp (24), length (4) and payload.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.counts.produced.to_le_bytes());
        bytes.extend(self.counts.delivered.to_le_bytes());
        for reason in DropReason::ALL {
            bytes.extend(self.counts.dropped.get(&reason).copied().unwrap_or(0).to_le_bytes());
        }
        bytes.extend((self.removed.len() as u32).to_le_bytes());
        self.removed.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        for (rank, number, stamp, payload) in &self.fresh {
            bytes.push(*rank as u8);
            bytes.extend(number.to_le_bytes());
            bytes.extend(stamp.to_bytes());
            bytes.extend((payload.len() as u32).to_le_bytes());
            bytes.extend(*payload);
        }
        bytes
    }

    /// Decodes [`Change::to_payload`].
    pub fn from_payload(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut counts =
            SpoolCounts { produced: number(&mut rest)?, delivered: number(&mut rest)?, ..Default::default() };
        for reason in DropReason::ALL {
            let dropped = number(&mut rest)?;
            if dropped > 0 {
                counts.dropped.insert(reason, dropped);
            }
        }
        let removed = length(&mut rest)?;
        let removed = (0..removed).map(|_| number(&mut rest)).collect::<Option<_>>()?;
        let mut fresh = Vec::new();
        while let Some((&rank, others)) = rest.split_first() {
            rest = others;
            let rank = if rank == Rank::System as u8 { Rank::System } else { Rank::Object };
            let number = number(&mut rest)?;
            let stamp = Stamp::from_bytes(take(&mut rest, 24)?)?;
            let length = length(&mut rest)?;
            fresh.push((rank, number, stamp, take(&mut rest, length as usize)?));
        }
        Some(Self { counts, removed, fresh })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, others) = rest.split_at_checked(count)?;
    *rest = others;
    Some(taken)
}

/// A count or the number of a message. No device reaches [`MAX_NUMBER`]: a larger one is damage.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
    (number <= MAX_NUMBER).then_some(number)
}

fn length(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_as_it_was_written_and_a_part_of_it_is_refused() {
        let stamp = Stamp { boot: 1, boot_ns: 2, wall_s: 3 };
        let dropped = [(DropReason::Age, 4), (DropReason::Refused, 1)].into();
        let change = Change {
            counts: SpoolCounts { produced: 9, delivered: 2, dropped },
            removed: [3, 5].into(),
            fresh: vec![(Rank::System, 7, stamp, b"drift"), (Rank::Object, 8, stamp, b"car")],
        };
        let payload = change.to_payload();
        assert_eq!(Change::from_payload(&payload), Some(change));
        for at in [0, 8] {
            let mut damaged = payload.clone();
            damaged[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert_eq!(Change::from_payload(&damaged), None, "counts whose sum overflows are refused");
        }
        // Whole messages may end anywhere among them.
        let read = (0..payload.len()).filter(|&end| Change::from_payload(&payload[..end]).is_some()).count();
        assert_eq!(read, 2);
    }
}
