//! `lookout` watches cameras: frames in, detections out, and a running proof that the int8 network still agrees with
//! the full-precision one.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks, clippy::print_stdout, clippy::print_stderr)]

pub mod calibrate;
pub mod camera;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod detector;
pub mod draw;
pub mod error;
pub mod frame;
pub mod kernel;
pub mod measure;
pub mod message;
pub mod metrics;
pub mod preprocess;
pub mod publish;
pub mod quant;
pub mod replace;
pub mod stop;
pub mod tensor;
