//! Table of the fp32 micro-kernels, from which dispatch, tests and benchmarks follow.

use super::direct_f32::direct_scalar;
use super::isa::{Isa, IsaName};
use super::tile_f32::{KernelF32, NR, scalar_4x16};
use super::winograd_stages_f32::{winograd_input_scalar, winograd_output_scalar};

/// Every fp32 micro-kernel, weakest instruction set first. Dispatch, tests and bench read this table and nothing else.
pub static KERNELS_F32: &[KernelF32] = &[
    KernelF32 {
        name: "f32_4x16_scalar",
        isa: IsaName::Scalar,
        mr: 4,
        function: scalar_4x16,
        panels: 1,
        columns: NR,
        lanes: 8,
        direct: direct_scalar,
        winograd_input: winograd_input_scalar,
        winograd_output: winograd_output_scalar,
    },
    #[cfg(target_arch = "x86_64")]
    KernelF32 {
        name: "f32_3x16_sse41",
        isa: IsaName::Sse41,
        mr: 3,
        function: super::x86::sse41_f32::tile_3x16,
        panels: 1,
        columns: NR,
        lanes: 4,
        direct: super::x86::sse41_f32::direct_4,
        winograd_input: super::x86::sse41_f32::winograd_input,
        winograd_output: super::x86::sse41_f32::winograd_output,
    },
    #[cfg(target_arch = "x86_64")]
    KernelF32 {
        name: "f32_6x16_avx2",
        isa: IsaName::Avx2,
        mr: 6,
        function: super::x86::avx2_f32::tile_6x16,
        panels: 1,
        columns: 8,
        lanes: 8,
        direct: super::x86::avx2_f32::direct_8,
        winograd_input: super::x86::avx2_f32::winograd_input,
        winograd_output: super::x86::avx2_f32::winograd_output,
    },
    #[cfg(target_arch = "x86_64")]
    KernelF32 {
        name: "f32_14x32_avx512",
        isa: IsaName::Avx512Vnni,
        mr: 14,
        function: super::x86::avx512_f32::tile_14x32,
        panels: 2,
        columns: 1,
        lanes: 16,
        direct: super::x86::avx512_f32::direct_16,
        winograd_input: super::x86::avx512_f32::winograd_input,
        winograd_output: super::x86::avx512_f32::winograd_output,
    },
    #[cfg(target_arch = "aarch64")]
    KernelF32 {
        name: "f32_5x16_neon",
        isa: IsaName::Neon,
        mr: 5,
        function: super::aarch64::neon_f32::tile_5x16,
        panels: 1,
        columns: NR,
        lanes: 4,
        direct: super::aarch64::neon_f32::direct_4,
        winograd_input: super::aarch64::neon_f32::winograd_input,
        winograd_output: super::aarch64::neon_f32::winograd_output,
    },
];

impl KernelF32 {
    /// The kernel for `isa`: the strongest in the table that needs no more than it.
    pub fn of(isa: Isa) -> &'static Self {
        KERNELS_F32.iter().rev().find(|kernel| isa.proves(kernel.isa)).unwrap_or(&KERNELS_F32[0])
    }
}
