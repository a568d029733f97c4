//! What is wrong with a dataset's labels and pictures: each with its file, its line, and a sentence.
//!
//! In: what the readers of labels trip over. Out: a list that is told in full in the JSON report and in short on the
//! terminal, or, where the owner wants it so, one error that stops everything before a model runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Kind, Result};

/// Kinds of problems, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A line or entry lacks columns or fields, or holds what is no number.
    Malformed,
    /// A box without an area, or with corners the wrong way round.
    EmptyBox,
    /// A box that reaches beyond its picture.
    Outside,
    /// A class that no model knows and no class map names.
    UnknownClass,
    /// Labels without their picture, or a picture without labels.
    Missing,
    /// A picture that cannot be decoded.
    Damaged,
}

impl ProblemKind {
    /// What the kind is called in the summary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::EmptyBox => "empty box",
            Self::Outside => "outside the picture",
            Self::UnknownClass => "unknown class",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What sort of thing.
    pub kind: ProblemKind,
    /// The file it stands in.
    pub file: PathBuf,
    /// Its line, from 1; 0 where it is about the whole file.
    pub line: usize,
    /// What is wrong and what became of it.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}

/// All that is wrong, in the order in which it was met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, kind: ProblemKind, file: &Path, line: usize, what: impl Into<String>) {
        self.0.push(Problem { kind, file: file.to_owned(), line, what: what.into() });
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> BTreeMap<ProblemKind, usize> {
        let mut counts = BTreeMap::new();
        for problem in &self.0 {
            *counts.entry(problem.kind).or_insert(0) += 1;
        }
        counts
    }

    /// The first `each` of every kind, and for each kind how many more there are.
    pub fn summary(&self, each: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, count) in self.counts() {
            let of_kind = self.0.iter().filter(|problem| problem.kind == kind);
            lines.extend(of_kind.take(each).map(ToString::to_string));
            if count > each {
                lines.push(format!("… and {} more: {}", count - each, kind.name()));
            }
        }
        lines
    }

    /// The first problem as an error.
    ///
    /// # Errors
    /// [`Kind::Data`] naming file and line, if there is any problem.
    pub fn refuse(&self) -> Result<()> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let more = match self.0.len() - 1 {
            0 => String::new(),
            1 => " (and 1 more problem)".to_owned(),
            more => format!(" (and {more} more problems)"),
        };
        Err(Error::new(Kind::Data, format!("{first}{more}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_short_and_the_error_names_the_place() {
        let mut problems = Problems::default();
        problems.refuse().unwrap();
        for line in 1..=5 {
            problems.add(ProblemKind::Malformed, Path::new("a/b.txt"), line, "4 columns");
        }
        problems.add(ProblemKind::Missing, Path::new("c.txt"), 0, "its picture is missing");
        let expected = [
            "a/b.txt:1: 4 columns",
            "a/b.txt:2: 4 columns",
            "… and 3 more: malformed",
            "c.txt: its picture is missing",
        ];
        assert_eq!(problems.summary(2), expected);
        let error = problems.refuse().unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Data, "a/b.txt:1: 4 columns (and 5 more problems)"));
    }
}
