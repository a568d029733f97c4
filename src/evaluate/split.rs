//! Split: selection of the pictures of a dataset to evaluate.
//!
//! `paper` is the validation part of the paper's KITTI split, computed from the names alone. The paper's code shuffles the
//! sorted list of 7481 pictures by a Fisher–Yates shuffle over MT19937 with seed 42 and takes the last fifth.
//! `paper-batch` is the first 32 pictures of that part, on which the paper's table of results is based.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::dataset::Dataset;
use super::mersenne::Mersenne;
use crate::error::{Error, Kind, Result};
use crate::tensor::text_file;

/// Pictures of KITTI's training set, which is the labelled part.
const KITTI_PICTURES: usize = 7481;
/// Seed of the paper's shuffle.
const SHUFFLE_SEED: u32 = 42;
/// Pictures of the paper's batch.
const BATCH_PICTURES: usize = 32;

/// Selection of pictures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Split {
    /// Every picture.
    #[default]
    All,
    /// The paper's 1497 validation pictures.
    Paper,
    /// The first 32 of them.
    PaperBatch,
    /// The paper's 5984 training pictures.
    PaperTraining,
    /// The pictures named in a file, one a line.
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
    /// Removes the pictures of `dataset` that are not in this split.
    ///
    /// # Errors
    /// [`Kind::Data`] if the paper's split is applied to another number of pictures than KITTI's 7481, or a file names an
    /// unknown picture; [`Error::reading`] for the file.
    pub fn apply(&self, dataset: &mut Dataset) -> Result<()> {
        let wanted: HashSet<String> = match self {
            Self::All => return Ok(()),
            Self::File(path) => read_names(path, dataset)?,
            paper => {
                // The shuffle starts from the sorted names, and the dataset is sorted by them.
                let names: Vec<&str> = dataset.pictures.iter().map(|labelled| labelled.name.as_str()).collect();
                if names.len() != KITTI_PICTURES {
                    let text = format!(
                        "the paper's split needs KITTI's {KITTI_PICTURES} pictures; this dataset has {}",
                        names.len()
                    );
                    return Err(Error::new(Kind::Data, text));
                }
                let PaperSplit { training, validation } = PaperSplit::of(names.len());
                let selected = match paper {
                    Self::PaperTraining => &training[..],
                    Self::PaperBatch => &validation[..BATCH_PICTURES.min(validation.len())],
                    _ => &validation[..],
                };
                selected.iter().map(|&index| names[index].to_owned()).collect()
            }
        };
        dataset.keep(|labelled| wanted.contains(&labelled.name));
        Ok(())
    }
}

/// The paper's training and validation parts, as indices in the sorted list of pictures, in shuffled order.
struct PaperSplit {
    training: Vec<usize>,
    validation: Vec<usize>,
}

impl PaperSplit {
    /// The split of `count` pictures.
    fn of(count: usize) -> Self {
        let mut training: Vec<usize> = (0..count).collect();
        let mut random = Mersenne::new(SHUFFLE_SEED);
        // Fisher–Yates from the front; the modulo is as in the paper's code.
        for at in 0..count.saturating_sub(1) {
            let ahead = random.next_u32() as usize % (count - at);
            training.swap(at, at + ahead);
        }
        let validation = training.split_off(count * 8 / 10);
        Self { training, validation }
    }
}

fn read_names(path: &Path, dataset: &Dataset) -> Result<HashSet<String>> {
    let text = text_file::read(path)?;
    let known: HashSet<&str> = dataset.pictures.iter().map(|labelled| labelled.name.as_str()).collect();
    let mut names = HashSet::new();
    for (at, line) in text.lines().enumerate() {
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
        return Err(Error::new(Kind::Data, format!("{}: no picture names", path.display())));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_split_is_reproduced_exactly() {
        let PaperSplit { training, validation } = PaperSplit::of(KITTI_PICTURES);
        assert_eq!((training.len(), validation.len()), (5984, 1497));
        assert_eq!(training[..8], [5593, 5948, 7164, 1727, 5932, 232, 5501, 4463]);
        assert_eq!(
            validation[..BATCH_PICTURES],
            [
                6002, 5939, 580, 3741, 5261, 950, 3066, 2421, 1018, 2138, 1701, 4729, 2029, 1404, 1164, 5143, 6373,
                6505, 2706, 6134, 397, 2109, 1649, 1264, 3714, 5037, 5456, 1743, 7200, 112, 5103, 3163
            ]
        );
        let mut all: Vec<_> = training.into_iter().chain(validation).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..KITTI_PICTURES));
    }

    #[test]
    fn splits_are_parsed() {
        assert_eq!("paper-batch".parse(), Ok(Split::PaperBatch));
        assert_eq!("val.txt".parse(), Ok(Split::File("val.txt".into())));
    }
}
