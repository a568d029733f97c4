//! Arithmetic ceiling of a core, measured: multiply-adds on registers, without loads.
//!
//! In: an instruction set. Out: GMAC/s of fp32 and of int8 with exact 32-bit sums, on the calling thread, in about
//! 200 ms. A share of the ceiling is meaningful only for a ceiling of the same run on the same core.

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};

use super::isa::Isa;

/// The arithmetic ceilings of one core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// fp32 multiply-adds, in 10⁹ a second.
    pub f32_gmacs: f64,
    /// u8 × s8 multiply-adds with 32-bit sums, by the instructions the exact kernels use, in 10⁹ a second.
    pub i8_gmacs: f64,
}

/// A loop of multiply-adds that stay in registers: runs `rounds` rounds, returns the multiply-adds of one.
pub(super) type PeakLoop = fn(rounds: u64) -> u64;

/// Measures `isa` on the calling thread. Best of several bursts by the thread's CPU time, so that other load on
/// the machine has little effect.
pub fn measure(isa: Isa) -> Ceilings {
    let (f32_loop, i8_loop) = peak_loops(isa);
    Ceilings { f32_gmacs: best_gmacs(f32_loop), i8_gmacs: best_gmacs(i8_loop) }
}

fn peak_loops(isa: Isa) -> (PeakLoop, PeakLoop) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::isa::IsaName;
        use super::x86::{avx2_ceiling, vnni_ceiling};
        if isa.proves(IsaName::Avx512Vnni) {
            return (vnni_ceiling::peak_f32_512, vnni_ceiling::peak_i8_512);
        }
        if isa.proves(IsaName::AvxVnni) {
            return (avx2_ceiling::peak_f32, vnni_ceiling::peak_i8_256);
        }
        if isa.proves(IsaName::Avx2) {
            return (avx2_ceiling::peak_f32, avx2_ceiling::peak_i8);
        }
        if isa.proves(IsaName::Sse41) {
            return (vnni_ceiling::peak_f32_128, vnni_ceiling::peak_i8_128);
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use super::aarch64::ceiling as arm;
        use super::isa::IsaName;
        if isa.proves(IsaName::I8mm) {
            return (arm::peak_f32, arm::peak_i8_i8mm);
        }
        if isa.proves(IsaName::Dotprod) {
            return (arm::peak_f32, arm::peak_i8_dotprod);
        }
        if isa.proves(IsaName::Neon) {
            return (arm::peak_f32, arm::peak_i8_neon);
        }
    }
    let _ = isa;
    (scalar_f32, scalar_i8)
}

fn best_gmacs(peak_loop: PeakLoop) -> f64 {
    const BURSTS: usize = 8;
    const BURST_SECONDS: f64 = 0.01;
    let mut rounds = 1000;
    let mut best = 0f64;
    let mut bursts = 0;
    while bursts < BURSTS {
        let start = thread_seconds();
        let macs = peak_loop(black_box(rounds)) * rounds;
        let seconds = thread_seconds() - start;
        if seconds < BURST_SECONDS / 2.0 {
            rounds *= 2;
            continue;
        }
        best = best.max(macs as f64 / seconds * 1e-9);
        bursts += 1;
    }
    best
}

/// CPU time of the calling thread, in seconds.
pub fn thread_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

/// CPU time of all threads of the process together, in seconds.
pub fn process_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn scalar_f32(rounds: u64) -> u64 {
    const LANES: usize = 32;
    let mut sums = [0f32; LANES];
    let factors: [f32; LANES] = black_box(std::array::from_fn(|lane| 1.0 - lane as f32 * 1e-7));
    for _ in 0..rounds {
        for (sum, factor) in sums.iter_mut().zip(&factors) {
            *sum = *sum * factor + 1.0;
        }
    }
    black_box(sums);
    LANES as u64
}

fn scalar_i8(rounds: u64) -> u64 {
    const LANES: usize = 32;
    let mut sums = [0i32; LANES];
    let values: [i16; LANES] = black_box(std::array::from_fn(|lane| lane as i16 - 16));
    for round in 0..rounds {
        let value = i32::from(round as u8);
        for (sum, factor) in sums.iter_mut().zip(&values) {
            *sum = sum.wrapping_add(value * i32::from(*factor));
        }
    }
    black_box(sums);
    LANES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_a_ceiling() {
        for isa in Isa::available() {
            let ceilings = measure(isa);
            assert!(ceilings.f32_gmacs > 0.01 && ceilings.f32_gmacs < 1e4, "{isa:?}: {ceilings:?}");
            assert!(ceilings.i8_gmacs > 0.01 && ceilings.i8_gmacs < 1e4, "{isa:?}: {ceilings:?}");
        }
    }
}
