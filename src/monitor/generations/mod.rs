//! Generations of the model: the ledger on disk, the serving model, probation and oscillation.

pub(in crate::monitor) mod ledger;
pub(in crate::monitor) mod oscillation;
pub(in crate::monitor) mod probation;
pub(in crate::monitor) mod serving;
