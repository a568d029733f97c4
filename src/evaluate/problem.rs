//! Problems of a dataset's labels and pictures, each with file, line and description.
//!
//! The JSON report has the full list and the terminal a summary. With `--strict` the first problem is an error before a
//! model runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Kind, Result};

/// Kind of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// A line or entry lacks columns or fields, or a number is invalid.
    Malformed,
    /// A box without area, or with swapped corners.
    EmptyBox,
    /// A box that exceeds its picture.
    Outside,
    /// A declared size that is not the picture's.
    DeclaredSize,
    /// Boxes that are not in pixels.
    Units,
    /// A class that no model has and the class map does not map.
    UnknownClass,
    /// Labels without a picture, or a picture without labels.
    Missing,
    /// A picture that cannot be decoded.
    Damaged,
}

impl ProblemKind {
    /// Name in the summary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::EmptyBox => "empty box",
            Self::Outside => "outside the picture",
            Self::DeclaredSize => "declared size",
            Self::Units => "units of the boxes",
            Self::UnknownClass => "unknown class",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Kind.
    pub kind: ProblemKind,
    /// File that has it.
    pub file: PathBuf,
    /// Line, from 1; 0 for the whole file.
    pub line: usize,
    /// Description, with the consequence.
    #[serde(rename = "what")]
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.text),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.text),
        }
    }
}

/// All problems, in the order of reading.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, kind: ProblemKind, file: &Path, line: usize, text: impl Into<String>) {
        self.0.push(Problem { kind, file: file.to_owned(), line, text: text.into() });
    }

    /// Number of problems of each kind.
    pub fn counts(&self) -> BTreeMap<ProblemKind, usize> {
        let mut counts = BTreeMap::new();
        for problem in &self.0 {
            *counts.entry(problem.kind).or_insert(0) += 1;
        }
        counts
    }

    /// The first `each` problems of every kind, and the number of further ones.
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
    /// [`Kind::Data`] with file and line, if there is a problem.
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
    fn the_summary_is_short_and_the_error_has_file_and_line() {
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
