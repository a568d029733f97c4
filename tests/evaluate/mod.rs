//! `lookout evaluate` against `pycocotools` and from outside, as a user calls it.

mod coco;
mod command;
mod inspect;
#[cfg(feature = "demo")]
mod labels;
mod paper_split;
