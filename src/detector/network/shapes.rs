//! Tensor shapes of a state dict, and what they show.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};

/// Tensor shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// The largest extent of a tensor: limits the allocations that a damaged header can cause.
pub(super) const MAX_EXTENT: usize = 1 << 20;

/// Extent `axis` of tensor `name`, which must have `rank` dimensions.
///
/// # Errors
/// [`Kind::Data`], naming the tensor that is missing or has another shape.
pub(super) fn extent(shapes: &Shapes, name: &str, axis: usize, rank: usize) -> Result<usize> {
    let shape = shapes.get(name).ok_or_else(|| missing(name, None))?;
    if shape.len() != rank {
        let found = format!("tensor {name} has shape {shape:?}; expected {rank} dimensions");
        return Err(Error::new(Kind::Data, found));
    }
    match shape[axis] {
        n if (1..=MAX_EXTENT).contains(&n) => Ok(n),
        _ => {
            let found = format!("tensor {name} has shape {shape:?}; extents go from 1 to {MAX_EXTENT}");
            Err(Error::new(Kind::Data, found))
        }
    }
}

/// The error for a missing tensor.
pub(super) fn missing(name: &str, shape: Option<&Vec<usize>>) -> Error {
    let shape = shape.map(|shape| format!("; expected one of shape {shape:?}")).unwrap_or_default();
    Error::new(Kind::Data, format!("tensor {name} is missing{shape}"))
}

/// Names of the modules and parameters directly in `module`, each as often as it holds tensors.
pub(super) fn children<'a>(shapes: &'a Shapes, module: &'a str) -> impl Iterator<Item = &'a str> {
    let below = move |name: &'a str| name.strip_prefix(module)?.strip_prefix('.')?.split('.').next();
    let first = format!("{module}.");
    shapes
        .range(first.clone()..)
        .map(|(name, _)| name.as_str())
        .take_while(move |n| n.starts_with(&first))
        .filter_map(below)
}

/// Number of children of `module` that are numbered from 0 on: one more than the largest number.
pub(super) fn child_count(shapes: &Shapes, module: &str) -> usize {
    let numbers = children(shapes, module).filter_map(|child| child.parse::<usize>().ok());
    numbers.max().map_or(0, |largest| largest.saturating_add(1)).min(MAX_EXTENT)
}

/// A map that can leave a body.
#[derive(Debug, Clone)]
pub(super) struct Output {
    /// Its number in the body.
    pub number: usize,
    /// The module in the body whose output it is.
    pub name: String,
    /// Channels.
    pub channels: usize,
}

/// Facts about a body besides its own weights.
#[derive(Debug)]
pub(super) struct Recognized<'a> {
    /// Channels that the pyramid reads, finest map first; `None` without a pyramid.
    pub read: Option<Vec<usize>>,
    /// Names of the modules whose outputs leave the body, if the user gave them.
    pub given: Option<&'a [String]>,
}

impl Recognized<'_> {
    /// Numbers of the outputs that leave the body. `outputs` are torchvision's choices, finest first; the last is the end
    /// of the body.
    ///
    /// # Errors
    /// [`Kind::Data`] if no choice has the channels that the pyramid reads.
    pub fn returned(&self, outputs: &[Output]) -> Result<Vec<usize>> {
        let list = |outputs: &[Output]| {
            outputs.iter().map(|o| format!("{} ({})", o.name, o.channels)).collect::<Vec<_>>().join(", ")
        };
        if let Some(given) = self.given {
            let number = |name: &String| {
                outputs.iter().find(|output| output.name == *name).map(|output| output.number).ok_or_else(|| {
                    let text = format!("body.returned names {name:?}; expected some of {}", list(outputs));
                    Error::new(Kind::Data, text)
                })
            };
            return given.iter().map(number).collect();
        }
        let Some(last) = outputs.last() else { return Ok(Vec::new()) };
        let Some(read) = &self.read else { return Ok(vec![last.number]) };
        // From the end of the body backwards: the coarsest maps that fit.
        let mut returned = Vec::with_capacity(read.len());
        let mut left = outputs.len();
        for &channels in read.iter().rev() {
            let fits =
                |&at: &usize| outputs[at].channels == channels && (!returned.is_empty() || at + 1 == outputs.len());
            let Some(at) = (0..left).rev().find(fits) else {
                let text = format!(
                    "backbone.fpn.inner_blocks read maps of {read:?} channels; the body has {}: give the modules that \
                     leave it, as `returned` in section [body] of --settings",
                    list(outputs)
                );
                return Err(Error::new(Kind::Data, text));
            };
            returned.push(outputs[at].number);
            left = at;
        }
        returned.reverse();
        Ok(returned)
    }
}

/// Checks that `returned` are ascending numbers from `first` to `last`, and at least one.
///
/// # Errors
/// [`Kind::Data`], naming the numbers.
pub(super) fn check_returned(returned: &[usize], first: usize, last: usize) -> Result<()> {
    let is_ascending = returned.windows(2).all(|pair| pair[0] < pair[1]);
    // What follows the last returned map would never run.
    if !returned.is_empty() && is_ascending && returned[0] >= first && returned.last() == Some(&last) {
        return Ok(());
    }
    let text = format!("the body returns {returned:?}; expected ascending numbers from {first}, the last {last}");
    Err(Error::new(Kind::Data, text))
}
