//! The fp32 executor against torchvision: every stage from its golden input, and pictures from end to end.
//!
//! The committed goldens come of narrow random networks (`tests/golden/make.py`); where the shared folder is there, a
//! trained ResNet-50 joins them. Whatever can compute the plan is an axis of the tests: the kernels of every
//! instruction set this CPU has, and candle's stock layers.

mod candle_layers;
mod case;
mod detections;
mod stages;
mod trace;
