//! `lookout evaluate` against `pycocotools` and from outside, as a user calls it.

mod coco;
mod command;
mod inspect;
mod labels;
mod paper_split;
