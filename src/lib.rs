//! `lookout` detects objects on camera streams: frames in, detections out. The network runs in int8 after quantization;
//! the full-precision network is the reference.
//!
//! Data flow:
//!
//! ```text
//! camera ──► frame ──► preprocess ──► detector ──► publish ──► one Report a frame
//!            newest     resize to       one plan
//!            wins       a canvas        fp32 | int8
//!
//! pictures ──► calibrate ──► quant ──► artifact          state dict ──► detector::checkpoint ──► fp32
//!              observe, choose ranges,                                   `lookout import`
//!              correct, compare (measure)
//! ```
//!
//! The modules, from the highest layer to the lowest; a module imports only modules below it:
//!
//! | module | purpose |
//! |---|---|
//! | [`cli`] | command line: one file a command |
//! | [`daemon`] | the service: builds the stages from the configuration, owns their threads, stops them in order |
//! | [`calibrate`] | post-training quantization: observers, ranges, bias correction, quantized network |
//! | [`evaluate`] | labelled pictures: the paper's figures, average precision, agreement, with confidence intervals |
//! | [`inspect`] | pictures of the difference between fp32 and int8: maps, errors, hexbin plots, side-by-side frames |
//! | [`monitor`] | int8 compared with fp32 on live frames: drift, recalibration, roll-back |
//! | [`measure`] | difference between int8 and fp32: error of every step, agreement of detections, coverage |
//! | [`publish`], [`camera`] | output and input: message sinks, frame sources |
//! | [`web`] | live page, API, metrics and health over HTTP |
//! | [`track`] | tracker: detections of successive frames to objects with ids |
//! | [`rules`] | rules over tracks: zones entered and left, lines crossed, paths |
//! | [`config`] | configuration: parsed, validated, resolved; every default in one place |
//! | [`preprocess`], [`frame`], [`draw`] | pictures: decoding, newest-wins slot, torchvision's resize, drawing of boxes |
//! | [`detector`] | the network as data ([`detector::plan`]), and its two executors |
//! | [`quant`] | quantization parameters, quantization of weights, the artifact file |
//! | [`kernel`] | SIMD: convolution, pooling, RoIAlign, for f32 and u8; one table of micro-kernels each |
//! | [`tensor`] | containers and files |
//! | [`backoff`], [`error`], [`fault`], [`stop`], [`precedence`], [`clock`], [`metrics`], [`message`], [`redact`], [`control`], [`random`], [`rate_limit`], [`quantile`], [`suggest`], [`sync`] | ground: used by all modules |
//!
//! Rules: the name of a step is torchvision's, the same in checkpoint, artifact, log and table. The tap
//! ([`detector::tap::Tap`]) is the only hook into an executor. `unsafe` occurs only in [`kernel`], [`camera::v4l2`] and
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
pub mod fault;
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
pub mod rate_limit;
pub mod redact;
pub mod rules;
pub mod stop;
pub mod suggest;
pub mod sync;
pub mod tensor;
pub mod track;
pub mod web;
