//! `linux/videodev2.h` as Rust declarations, generated once and committed.
//!
//! Takes the place of the crate of this name, which runs bindgen, and so needs libclang, on every machine that builds.
//! The declarations are the same for 64-bit and 32-bit machines, since every type whose size differs is C's own;
//! `sizes` holds them to what C compilers for both say, at compile time. The header may be used under the BSD licence
//! (SPDX: `(GPL-2.0+ WITH Linux-syscall-note) OR BSD-3-Clause`).
//!
//! To make them anew, for each of `x86_64-unknown-linux-gnu` and `armv7-unknown-linux-gnueabihf`:
//!
//! ```sh
//! echo '#include <linux/videodev2.h>' > wrapper.h
//! bindgen wrapper.h --no-layout-tests --no-doc-comments --rust-edition 2021 --rust-target 1.82 \
//!     --allowlist-type '(v4l2|timeval|time_t).*' --allowlist-var '(V4L2|VIDEO).*' -- --target=$target
//! ```
//!
//! The two outputs must be equal; without `--no-layout-tests` they carry the sizes.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, missing_docs, clippy::all)]

mod bindings;
mod sizes;

pub use bindings::*;
