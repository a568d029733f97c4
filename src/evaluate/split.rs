//! Which pictures of a dataset are judged.
//!
//! `paper` is the validation part of the paper's KITTI split, made anew from the names alone: its code shuffles the
//! sorted list of 7481 pictures by a Fisher–Yates shuffle over MT19937 with seed 42 and keeps the last fifth.
//! `paper-batch` is that part's first 32 pictures, which the paper's table of results rests on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::dataset::{Dataset, without_mark};
use super::mersenne::Mersenne;
use crate::error::{Error, Kind, Result};

/// Pictures of KITTI's labelled part.
const KITTI: usize = 7481;
/// Seed of the paper's shuffle.
const SEED: u32 = 42;
/// Pictures of the paper's batch.
const BATCH: usize = 32;

/// Which pictures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Split {
    /// Every one.
    #[default]
    All,
    /// The paper's 1497 of validation.
    Paper,
    /// The first 32 of them.
    PaperBatch,
    /// The paper's 5984 of training.
    PaperTraining,
    /// Those a file names, one a line.
    File(PathBuf),
}

impl FromStr for Split {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            "all" => Self::All,
            "paper" => Self::Paper,
            "paper-batch" => Self::PaperBatch,
            "paper-training" => Self::PaperTraining,
            path => Self::File(path.into()),
        })
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Paper => f.write_str("paper"),
            Self::PaperBatch => f.write_str("paper-batch"),
            Self::PaperTraining => f.write_str("paper-training"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Split {
    /// Leaves the pictures of this split in `dataset`.
    ///
    /// # Errors
    /// [`Kind::Data`] if the paper's split is asked of another number of pictures than KITTI's 7481, or a file names a
    /// picture that is not there; what reading the file gives.
    pub fn apply(&self, dataset: &mut Dataset) -> Result<()> {
        let wanted: HashSet<String> = match self {
            Self::All => return Ok(()),
            Self::File(path) => read_names(path, dataset)?,
            paper => {
                // The order of the names decides, and the dataset is sorted by them.
                let names: Vec<&str> = dataset.pictures.iter().map(|labelled| labelled.name.as_str()).collect();
                if names.len() != KITTI {
                    let text =
                        format!("the paper's split is of KITTI's {KITTI} pictures; this dataset has {}", names.len());
                    return Err(Error::new(Kind::Data, text));
                }
                let (training, validation) = paper_split(names.len());
                let chosen = match paper {
                    Self::PaperTraining => &training[..],
                    Self::PaperBatch => &validation[..BATCH.min(validation.len())],
                    _ => &validation[..],
                };
                chosen.iter().map(|&index| names[index].to_owned()).collect()
            }
        };
        dataset.keep(|labelled| wanted.contains(&labelled.name));
        Ok(())
    }
}

/// The paper's training and validation parts of `count` pictures, as places in the sorted list, in its own order.
pub fn paper_split(count: usize) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = Mersenne::new(SEED);
    for at in 0..count.saturating_sub(1) {
        let ahead = random.next_u32() as usize % (count - at);
        order.swap(at, at + ahead);
    }
    let validation = order.split_off(count * 8 / 10);
    (order, validation)
}

fn read_names(path: &Path, dataset: &Dataset) -> Result<HashSet<String>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::reading(path, source))?;
    let known: HashSet<&str> = dataset.pictures.iter().map(|labelled| labelled.name.as_str()).collect();
    let mut names = HashSet::new();
    for (at, line) in without_mark(&text).lines().enumerate() {
        let name = line.trim();
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        // With or without the extension; COCO's names have one.
        let bare = [name, name.rsplit_once('.').map_or(name, |(bare, _)| bare)].into_iter().find(|n| known.contains(n));
        let Some(bare) = bare else {
            let text = format!("{}:{}: the dataset has no picture {name}", path.display(), at + 1);
            return Err(Error::new(Kind::Data, text));
        };
        names.insert(bare.to_owned());
    }
    if names.is_empty() {
        return Err(Error::new(Kind::Data, format!("{}: it names no picture", path.display())));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_split_is_regenerated_exactly() {
        let (training, validation) = paper_split(KITTI);
        assert_eq!((training.len(), validation.len()), (5984, 1497));
        assert_eq!(training[..8], [5593, 5948, 7164, 1727, 5932, 232, 5501, 4463]);
        assert_eq!(
            validation[..BATCH],
            [
                6002, 5939, 580, 3741, 5261, 950, 3066, 2421, 1018, 2138, 1701, 4729, 2029, 1404, 1164, 5143, 6373,
                6505, 2706, 6134, 397, 2109, 1649, 1264, 3714, 5037, 5456, 1743, 7200, 112, 5103, 3163
            ]
        );
        let mut all: Vec<_> = training.into_iter().chain(validation).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..KITTI));
    }

    #[test]
    fn splits_by_name() {
        assert_eq!("paper-batch".parse(), Ok(Split::PaperBatch));
        assert_eq!("val.txt".parse(), Ok(Split::File("val.txt".into())));
    }
}
