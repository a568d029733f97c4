//! `artifact/1`: a quantized model as one file.
//!
//! In: a [`Header`] and the weights of every step, from whoever quantized them. Out: bytes that depend on nothing else
//! (no date, host or path), and from such bytes an [`Artifact`] in which every number was checked. What the steps and
//! edges are called and how they hang together is the detector's business: it finds its hyper-parameters again under
//! [`Header::plan`], untouched.
//!
//! Tensors: `S.weight` I8 or F32 `[out, kh, kw, in]`, `S.scale` F32 `[out]` (int8 only), `S.bias` F32 `[runs, out]` for
//! every step S; where a step has a residual (see [`super::Residual`]) `S.residual` F32 `[out, in]` and
//! `S.input_moments` F32 `[runs, 2, in]`, means and mean squares; where it has responses (see [`super::Response`])
//! `S.input_means` F32 `[runs, in]`, `S.response_scales` F32 `[runs, ways, 2]`, `S.input_ways` I8 `[runs, ways, in]`
//! and `S.bias_ways` I8 `[runs, ways, out]`; `E.histogram` U32 `[bins]` for every edge E that has one.

mod header;
mod read;
mod sidecar;
mod write;

#[cfg(test)]
mod tests;

pub use super::Precision;
pub use header::{
    Agreement, Calibration, Edge, FORMAT, Header, HistogramBins, Provenance, Spread, Step, StoredQuantParams,
};
pub use read::{Artifact, Weights};
pub use sidecar::Sidecar;
pub use write::{StepWeights, encode, save};
