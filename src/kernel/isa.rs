//! Which instructions this CPU has, as a value: holding one proves that the instructions exist.

use crate::error::{Error, Kind, Result};

/// An instruction set that kernels are written for, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IsaName {
    /// Portable Rust; also the oracle that every other one is compared with.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
}

impl IsaName {
    /// Every instruction set, weakest first.
    pub const ALL: &'static [Self] = &[Self::Scalar, Self::Avx2];

    /// The name used in configuration, logs and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
        }
    }

    /// The instruction set called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|isa| isa.name() == name)
    }
}

/// Proof that this CPU has an instruction set: made only by [`Isa::new`] and [`Isa::best`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(IsaName);

impl Isa {
    /// The capability, or `None` where the CPU lacks it.
    pub fn new(name: IsaName) -> Option<Self> {
        let present = match name {
            IsaName::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            IsaName::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            IsaName::Avx2 => false,
        };
        present.then_some(Self(name))
    }

    /// What the setting `name` asks for: `auto`, the strongest this CPU has, or one by name.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] for a name that is none, [`Kind::Unavailable`] for one that this CPU lacks: never silently
    /// another.
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

    /// Which instruction set this proves.
    pub const fn name(self) -> IsaName {
        self.0
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
        assert_eq!(error.message(), "there is no kernel `mmx`: choose auto, scalar, avx2");
    }
}
