//! `lookout evaluate` against `pycocotools` and from outside, as a user calls it.

#[allow(dead_code)]
#[path = "../golden/mod.rs"]
mod golden;

mod command;
mod coco;
mod paper_split;
