//! `lookout` watches cameras: frames in, detections out, with the whole network in int8 where the owner has quantized
//! it, and the full-precision network beside it as the reference.
//!
//! One way for data to flow:
//!
//! ```text
//! camera ──► frame ──► preprocess ──► detector ──► publish ──► one Report a frame
//!            newest     resize to       one plan
//!            wins       a canvas        fp32 | int8
//!
//! pictures ──► calibrate ──► quant ──► artifact          checkpoint ──► detector::checkpoint ──► fp32
//!              observe, choose ranges,                   what `import` made of a torchvision
//!              correct, compare (measure)                state dict
//! ```
//!
//! The modules, from the top to the ground; nothing points up:
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line: one file a command |
//! | [`daemon`] | builds the stages from the configuration, owns their threads, stops them in order |
//! | [`calibrate`] | pictures → observers → ranges → quantized network |
//! | [`evaluate`] | labelled pictures → the paper's figures, average precision, agreement, each with its interval |
//! | [`inspect`] | fp32 beside int8 in pictures: maps, errors, hexagons, plots over depth, side-by-side frames |
//! | [`monitor`] | int8 beside fp32 on live frames: drift, recalibration, roll-back |
//! | [`measure`] | how far int8 is from fp32: errors by step, agreement of detections |
//! | [`publish`], [`camera`] | the edges: what takes messages, what gives frames |
//! | [`web`] | the live page, its API, metrics and health over HTTP |
//! | [`track`] | detections of successive frames → objects with ids |
//! | [`config`] | what the TOML may say: parsed, validated, resolved; every default in one place |
//! | [`preprocess`], [`frame`], [`draw`] | pictures: decoding, the newest-wins slot, torchvision's resize, boxes drawn |
//! | [`detector`] | the network, once, as data ([`detector::plan`]), and its two executors |
//! | [`quant`] | what a byte means, how weights become bytes, the artifact file |
//! | [`kernel`] | the only SIMD: convolution, pooling, RoIAlign, for f32 and u8; one table of micro-kernels each |
//! | [`tensor`] | plain containers and files |
//! | [`backoff`], [`error`], [`stop`], [`precedence`], [`clock`], [`metrics`], [`message`], [`redact`], [`control`], [`random`], [`quantile`], [`sync`] | the ground that everything stands on |
//!
//! Rules: a step's name is torchvision's and means the same in checkpoint, artifact, log and table. The tap
//! ([`detector::tap::Tap`]) is the only hook into an executor. `unsafe` stands only in [`kernel`], [`camera::v4l2`] and
//! [`tensor::mapped`]. Integer results are the same on every CPU and at any number of threads.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks, clippy::print_stdout, clippy::print_stderr)]

pub mod backoff;
pub mod calibrate;
pub mod camera;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod detector;
pub mod draw;
pub mod error;
pub mod evaluate;
pub mod frame;
pub mod inspect;
pub mod kernel;
pub mod measure;
pub mod message;
pub mod metrics;
pub mod monitor;
pub mod precedence;
pub mod preprocess;
pub mod publish;
pub mod quant;
pub mod quantile;
pub mod random;
pub mod redact;
pub mod stop;
pub mod sync;
pub mod tensor;
pub mod track;
pub mod web;
