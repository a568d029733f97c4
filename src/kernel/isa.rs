//! Instruction sets as capability values: a value proves that the CPU has the instructions.

use crate::error::{Error, Kind, Result};

/// An instruction set that kernels are written for, weakest first within a processor family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IsaName {
    /// Portable Rust; also the oracle that every other one is compared with.
    Scalar,
    /// x86-64 with SSE4.1: boards without AVX.
    Sse41,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// AVX2 and the VEX form of `vpdpbusd`: four u8 × s8 products added to 32 bits at once.
    AvxVnni,
    /// AVX-512 (F, BW, VL, DQ) and its `vpdpbusd`.
    Avx512Vnni,
    /// AArch64 with Advanced SIMD: every such CPU.
    Neon,
    /// AArch64 with `sdot` and `udot`: four products added to 32 bits at once.
    Dotprod,
    /// AArch64 with `usmmla`: products of 2×8 by 8×2 matrices; implies [`IsaName::Dotprod`] here.
    I8mm,
}

impl IsaName {
    /// Every instruction set, weakest first within a family.
    pub const ALL: &'static [Self] = &[
        Self::Scalar,
        Self::Sse41,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
    ];

    /// The name used in configuration, logs and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Sse41 => "sse41",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
        }
    }

    /// The instruction set called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|isa| isa.name() == name)
    }

    /// True if every CPU with this instruction set also has `other`. AVX-512-VNNI does not imply AVX-VNNI: many servers
    /// have only the former.
    pub const fn implies(self, other: Self) -> bool {
        use IsaName::{Avx2, Avx512Vnni, AvxVnni, Dotprod, I8mm, Neon, Scalar, Sse41};
        matches!(
            (self, other),
            (_, Scalar)
                | (Sse41 | Avx2 | AvxVnni | Avx512Vnni, Sse41)
                | (Avx2 | AvxVnni | Avx512Vnni, Avx2)
                | (AvxVnni, AvxVnni)
                | (Avx512Vnni, Avx512Vnni)
                | (Neon | Dotprod | I8mm, Neon)
                | (Dotprod | I8mm, Dotprod)
                | (I8mm, I8mm)
        )
    }
}

/// Proof that this CPU has an instruction set: made only by [`Isa::new`] and [`Isa::best`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(IsaName);

impl Isa {
    /// The capability, or `None` where the CPU lacks it.
    pub fn new(name: IsaName) -> Option<Self> {
        present(name).then_some(Self(name))
    }

    /// True if this proves that the CPU has `name`.
    pub const fn proves(self, name: IsaName) -> bool {
        self.0.implies(name)
    }

    /// The instruction set selected by the setting `name`: `auto` for the strongest of this CPU, or a name.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] for an unknown name, [`Kind::Unavailable`] for one that this CPU lacks. There is no silent
    /// fallback.
    pub fn select(name: &str) -> Result<Self> {
        if name == "auto" {
            return Ok(Self::best());
        }
        let Some(isa) = IsaName::from_name(name) else {
            let names: Vec<_> = IsaName::ALL.iter().map(|isa| isa.name()).collect();
            let text = format!("there is no kernel `{name}`: choose auto, {}", names.join(", "));
            return Err(Error::new(Kind::Config, text));
        };
        Self::new(isa).ok_or_else(|| {
            let present: Vec<_> = Self::available().iter().map(|isa| isa.name().name()).collect();
            let text =
                format!("this CPU has no {name}, which the kernel setting asks for; it has {}", present.join(", "));
            Error::new(Kind::Unavailable, text)
        })
    }

    /// The strongest one this CPU has.
    pub fn best() -> Self {
        IsaName::ALL.iter().rev().find_map(|&name| Self::new(name)).unwrap_or(Self(IsaName::Scalar))
    }

    /// Every one this CPU has, weakest first: the axis of the tests.
    pub fn available() -> Vec<Self> {
        IsaName::ALL.iter().filter_map(|&name| Self::new(name)).collect()
    }

    /// Name of the instruction set.
    pub const fn name(self) -> IsaName {
        self.0
    }
}

/// True if this CPU has `name`. False for instruction sets of another family.
fn present(name: IsaName) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match name {
            IsaName::Scalar => true,
            IsaName::Sse41 => is_x86_feature_detected!("sse4.1"),
            IsaName::Avx2 => avx2(),
            IsaName::AvxVnni => avx2() && is_x86_feature_detected!("avxvnni"),
            IsaName::Avx512Vnni => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            _ => false,
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let dotprod = || std::arch::is_aarch64_feature_detected!("dotprod");
        match name {
            IsaName::Scalar | IsaName::Neon => true,
            IsaName::Dotprod => dotprod(),
            IsaName::I8mm => dotprod() && std::arch::is_aarch64_feature_detected!("i8mm"),
            _ => false,
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        name == IsaName::Scalar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_chosen_by_name_or_refused() {
        assert_eq!(Isa::select("auto").unwrap(), Isa::best());
        assert_eq!(Isa::select("scalar").unwrap().name(), IsaName::Scalar);
        let error = Isa::select("mmx").unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(
            error.message(),
            "there is no kernel `mmx`: choose auto, scalar, sse41, avx2, avx-vnni, avx512-vnni, neon, dotprod, i8mm"
        );
    }

    #[test]
    fn what_is_proved_is_there() {
        for isa in Isa::available() {
            for &name in IsaName::ALL {
                assert!(!isa.proves(name) || Isa::new(name).is_some(), "{isa:?} proves {name:?}");
            }
            assert!(isa.proves(isa.name()) && isa.proves(IsaName::Scalar));
        }
        assert!(!IsaName::Avx512Vnni.implies(IsaName::AvxVnni));
    }
}
