//! Table of the u8 micro-kernels, from which dispatch, tests and benchmarks follow.

use super::micro::KernelU8;
use super::scalar;
use crate::kernel::geometry::ConvGeometry;
use crate::kernel::isa::{Isa, IsaName};

/// Every micro-kernel, weakest instruction set first; the last one of an instruction set is the one it prefers.
pub static KERNELS_U8: &[KernelU8] = &[
    KernelU8 {
        name: "u8s8_1x16c4_sum32_scalar",
        isa: IsaName::Scalar,
        mr: 1,
        nr: 16,
        kr: 4,
        needs_pair_safe: false,
        flips: false,
        run: scalar::tile_1x16c4,
    },
    #[cfg(target_arch = "x86_64")]
    KernelU8 {
        name: "u8s8_4x8c4_sum32_sse41",
        isa: IsaName::Sse41,
        mr: 4,
        nr: 8,
        kr: 4,
        needs_pair_safe: true,
        flips: false,
        run: crate::kernel::x86::sse41_u8::tile_4x8c4,
    },
    #[cfg(target_arch = "x86_64")]
    KernelU8 {
        name: "u8s8_6x16c4_sum32_avx2",
        isa: IsaName::Avx2,
        mr: 6,
        nr: 16,
        kr: 4,
        needs_pair_safe: true,
        flips: false,
        run: crate::kernel::x86::avx2_u8::tile_6x16c4,
    },
    #[cfg(target_arch = "x86_64")]
    KernelU8 {
        name: "u8s8_6x16c4_sum32_avxvnni",
        isa: IsaName::AvxVnni,
        mr: 6,
        nr: 16,
        kr: 4,
        needs_pair_safe: false,
        flips: false,
        run: crate::kernel::x86::avx2_u8::tile_6x16c4_vnni,
    },
    #[cfg(target_arch = "x86_64")]
    KernelU8 {
        name: "u8s8_14x32c4_sum32_avx512vnni",
        isa: IsaName::Avx512Vnni,
        mr: 14,
        nr: 32,
        kr: 4,
        needs_pair_safe: false,
        flips: false,
        run: crate::kernel::x86::avx512_vnni_u8::tile_14x32c4,
    },
    #[cfg(target_arch = "aarch64")]
    KernelU8 {
        name: "u8s8_2x8c16_sum16_neon",
        isa: IsaName::Neon,
        mr: 2,
        nr: 8,
        kr: 16,
        needs_pair_safe: false,
        flips: true,
        run: crate::kernel::aarch64::neon_u8::tile_2x8c16,
    },
    #[cfg(target_arch = "aarch64")]
    KernelU8 {
        name: "u8s8_4x16c4_sum32_dotprod",
        isa: IsaName::Dotprod,
        mr: 4,
        nr: 16,
        kr: 4,
        needs_pair_safe: false,
        flips: true,
        run: crate::kernel::aarch64::dotprod_u8::tile_4x16c4,
    },
    #[cfg(target_arch = "aarch64")]
    KernelU8 {
        name: "u8s8_8x8c8_sum32_i8mm",
        isa: IsaName::I8mm,
        mr: 8,
        nr: 8,
        kr: 8,
        needs_pair_safe: false,
        flips: false,
        run: crate::kernel::aarch64::i8mm_u8::tile_8x8c8,
    },
];

/// Every depthwise micro-kernel, in the same order. Each widens its products before they are added, or adds four in 32
/// bits: any weights are exact.
pub static DEPTHWISE_U8: &[KernelU8] = &[
    KernelU8 {
        name: "u8s8_depthwise_1x16t1_scalar",
        isa: IsaName::Scalar,
        mr: 1,
        nr: 16,
        kr: 1,
        needs_pair_safe: false,
        flips: false,
        run: scalar::depthwise_1x16t1,
    },
    #[cfg(target_arch = "x86_64")]
    KernelU8 {
        name: "u8s8_depthwise_4x8t2_sse41",
        isa: IsaName::Sse41,
        mr: 4,
        nr: 8,
        kr: 2,
        needs_pair_safe: false,
        flips: false,
        run: crate::kernel::x86::sse41_u8::depthwise_4x8t2,
    },
    #[cfg(target_arch = "x86_64")]
    KernelU8 {
        name: "u8s8_depthwise_6x16t2_avx2",
        isa: IsaName::Avx2,
        mr: 6,
        nr: 16,
        kr: 2,
        needs_pair_safe: false,
        flips: false,
        run: crate::kernel::x86::avx2_u8_depthwise::tile_6x16t2,
    },
    #[cfg(target_arch = "x86_64")]
    KernelU8 {
        name: "u8s8_depthwise_14x32t4_avx512vnni",
        isa: IsaName::Avx512Vnni,
        mr: 14,
        nr: 32,
        kr: 4,
        needs_pair_safe: false,
        flips: false,
        run: crate::kernel::x86::avx512_u8_depthwise::tile_14x32t4,
    },
    #[cfg(target_arch = "aarch64")]
    KernelU8 {
        name: "u8s8_depthwise_4x8t1_neon",
        isa: IsaName::Neon,
        mr: 4,
        nr: 8,
        kr: 1,
        needs_pair_safe: false,
        flips: false,
        run: crate::kernel::aarch64::neon_u8_depthwise::tile_4x8t1,
    },
];

impl KernelU8 {
    /// The kernel that `isa` prefers for `geometry`: the last of its table whose needs it proves.
    pub fn of(isa: Isa, geometry: &ConvGeometry) -> &'static Self {
        let table = Self::table(geometry);
        table.iter().rfind(|kernel| isa.proves(kernel.isa)).unwrap_or(&table[0])
    }

    /// The kernels for `geometry`.
    pub fn table(geometry: &ConvGeometry) -> &'static [Self] {
        if geometry.is_depthwise() { DEPTHWISE_U8 } else { KERNELS_U8 }
    }
}
