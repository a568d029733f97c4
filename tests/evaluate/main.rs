//! `lookout evaluate` against `pycocotools` and from outside, as a user calls it.

#[allow(dead_code)]
#[path = "../golden/mod.rs"]
mod golden;

mod coco;
mod command;
mod inspect;
mod paper_split;
