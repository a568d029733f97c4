//! What is taken from both networks while they run over one picture.
//!
//! In: pairs of activations, step by step. Out: errors of every step; points for the hexagons; on wish the step's maps,
//! which are handed on at once and not kept.

use super::hexbin::{Hexbin, Scale};
use super::map::{ErrorMaps, Map, relative};
use super::stats::{StepStats, sample};
use crate::detector::plan::{Op, Plan, StepId};
use crate::detector::tap::Activation;
use crate::measure::{PairObserver, PairRequest};

/// Which steps maps and hexagons are of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Steps {
    /// Every layer that sees the picture.
    #[default]
    All,
    /// The first so many of them.
    First(usize),
    /// Those with one of these names, or below one.
    Named(Vec<String>),
}

impl std::str::FromStr for Steps {
    type Err = std::convert::Infallible;

    /// `all`, `first:N`, or names with commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text.strip_prefix("first:").and_then(|count| count.parse().ok());
        Ok(match (text, first) {
            ("all", _) => Self::All,
            (_, Some(count)) => Self::First(count),
            _ => Self::Named(text.split(',').map(|name| name.trim().to_owned()).collect()),
        })
    }
}

impl Steps {
    /// The steps of `plan`, in order: convolutions before the proposals, for what comes after sees regions.
    ///
    /// # Errors
    /// [`Kind::Usage`](crate::error::Kind::Usage) naming a name that no such step has.
    pub fn of(&self, plan: &Plan) -> crate::error::Result<Vec<StepId>> {
        let layers = (0..plan.key_steps.proposals).filter(|&id| matches!(plan.steps[id].op, Op::Layer { .. }));
        match self {
            Self::All => Ok(layers.collect()),
            Self::First(count) => Ok(layers.take(*count).collect()),
            Self::Named(names) => {
                let layers: Vec<StepId> = layers.collect();
                let matches = |id: &StepId, name: &str| {
                    let step = &plan.steps[*id].name;
                    step.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '@']))
                };
                if let Some(name) = names.iter().find(|name| !layers.iter().any(|id| matches(id, name))) {
                    let text = format!("no convolution before the proposals is called {name} or begins with it");
                    return Err(crate::error::Error::new(crate::error::Kind::Usage, text));
                }
                Ok(layers.into_iter().filter(|id| names.iter().any(|name| matches(id, name))).collect())
            }
        }
    }
}

impl Steps {
    /// Those of `selected` that this says, in order.
    ///
    /// # Errors
    /// As [`Steps::of`]; [`Kind::Usage`](crate::error::Kind::Usage) naming a step that is not among them.
    pub fn among(&self, selected: &[StepId], plan: &Plan) -> crate::error::Result<Vec<StepId>> {
        match self {
            Self::All => Ok(selected.to_vec()),
            Self::First(count) => Ok(selected.iter().copied().take(*count).collect()),
            Self::Named(_) => {
                let named = self.of(plan)?;
                match named.iter().find(|step| !selected.contains(step)) {
                    None => Ok(named),
                    Some(&stranger) => {
                        let name = &plan.steps[stranger].name;
                        let text = format!("{name} is not among the steps that are looked at: name it in --steps, too");
                        Err(crate::error::Error::new(crate::error::Kind::Usage, text))
                    }
                }
            }
        }
    }
}

/// The four hexagon plots of one step or of all: absolute and relative error, linear and symmetric logarithm.
#[derive(Debug, Clone)]
pub struct Hexbins {
    /// Absolute linear, absolute symlog, relative linear, relative symlog.
    pub plots: [Hexbin; 4],
}

/// Least and largest of what the hexagons are laid over.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Of the reference's values.
    pub x: [f32; 2],
    /// Largest absolute error.
    pub absolute: f32,
    /// Largest relative error that the linear plot shows.
    pub relative: f32,
}

impl Default for Extent {
    fn default() -> Self {
        Self { x: [f32::INFINITY, f32::NEG_INFINITY], absolute: 0.0, relative: 0.0 }
    }
}

impl Extent {
    fn see(&mut self, f: f32, q: f32) {
        self.x = [self.x[0].min(f), self.x[1].max(f)];
        self.absolute = self.absolute.max((q - f).abs());
        self.relative = self.relative.max(relative(f, q).min(1e4));
    }

    /// The extent of both.
    pub fn join(&mut self, other: &Self) {
        self.x = [self.x[0].min(other.x[0]), self.x[1].max(other.x[1])];
        self.absolute = self.absolute.max(other.absolute);
        self.relative = self.relative.max(other.relative);
    }
}

impl Hexbins {
    /// What each plot is of: the error, and the scale of both axes.
    pub const KINDS: [[&str; 2]; 4] =
        [["absolute", "linear"], ["absolute", "symlog"], ["relative", "linear"], ["relative", "symlog"]];

    /// Empty hexagons with a tenth of room beyond `extent`.
    pub fn new(extent: &Extent) -> Self {
        let x = extent.x.map(|end| f64::from(end) * 1.1);
        let x = if x[0] <= x[1] { [x[0].min(0.0), x[1].max(0.0)] } else { [0.0, 1.0] };
        let (absolute, ratio) = (f64::from(extent.absolute) * 1.1, f64::from(extent.relative) * 1.1);
        // Relative errors have no end; a linear plot of them shows those up to 2.
        let linear_ratio = ratio.min(2.0);
        Self {
            plots: [
                Hexbin::new(Scale::Linear, x, [0.0, absolute]),
                Hexbin::new(Scale::Symlog, x, [0.0, absolute]),
                Hexbin::new(Scale::Linear, x, [0.0, linear_ratio]),
                Hexbin::new(Scale::Symlog, x, [0.0, ratio]),
            ],
        }
    }

    fn add(&mut self, f: f32, q: f32) {
        let (absolute, ratio) = ((q - f).abs(), relative(f, q));
        let [a, b, c, d] = &mut self.plots;
        a.add(f, absolute);
        b.add(f, absolute);
        c.add(f, ratio);
        d.add(f, ratio);
    }
}

/// A step's maps.
#[derive(Debug)]
pub struct StepMaps<'a> {
    /// The reference's.
    pub reference: &'a Map,
    /// The other's.
    pub other: &'a Map,
    /// The errors, where they were wanted.
    pub errors: Option<ErrorMaps>,
}

/// Called with a step's maps.
pub type SeeMaps<'a> = &'a mut (dyn FnMut(StepId, &StepMaps<'_>) + Send);

/// Watches one picture.
pub struct Watch<'a> {
    /// Steps whose maps and points are taken.
    pub steps: &'a [bool],
    /// Whether those are of the values before ReLU.
    pub before_relu: bool,
    /// Errors, by step.
    pub stats: Option<&'a mut [StepStats]>,
    /// Extents, by step, where the hexagons are still to be laid.
    pub extents: Option<&'a mut [Extent]>,
    /// Hexagons of single steps.
    pub hexbins: &'a mut [Option<Hexbins>],
    /// Hexagons of all steps.
    pub all: Option<&'a mut Hexbins>,
    /// Points of a step that the hexagons get, at most about.
    pub points: usize,
    /// Whether the maps come with those of their errors.
    pub want_errors: bool,
    /// Takes the maps.
    pub see_maps: Option<SeeMaps<'a>>,
}

impl Watch<'_> {
    fn take(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>, maps: Option<(&Map, &Map)>) {
        if !self.steps[step] {
            return;
        }
        if let Some(extents) = &mut self.extents {
            sample(reference, other, self.points, |f, q| extents[step].see(f, q));
        } else {
            let (mut one, mut all) = (self.hexbins[step].as_mut(), self.all.as_deref_mut());
            sample(reference, other, self.points, |f, q| {
                if let Some(one) = &mut one {
                    one.add(f, q);
                }
                if let Some(all) = &mut all {
                    all.add(f, q);
                }
            });
        }
        let Some(see_maps) = &mut self.see_maps else { return };
        let errors = self.want_errors.then(|| ErrorMaps::project(reference, other));
        match maps {
            Some((reference, other)) => see_maps(step, &StepMaps { reference, other, errors }),
            None => {
                let (f, q) = (Map::project(reference), Map::project(other));
                see_maps(step, &StepMaps { reference: &f, other: &q, errors });
            }
        }
    }
}

impl PairObserver for Watch<'_> {
    fn request(&self, step: StepId) -> PairRequest {
        match self.before_relu && self.steps[step] {
            true => PairRequest::Raw,
            false if self.stats.is_some() => PairRequest::Clipping,
            false => PairRequest::Output,
        }
    }

    fn observe(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        let wants_maps = self.see_maps.is_some() && self.steps[step] && !self.before_relu;
        let maps = (self.stats.is_some() || wants_maps).then(|| (Map::project(reference), Map::project(other)));
        let pair = maps.as_ref().map(|(f, q)| (f, q));
        if let Some(stats) = &mut self.stats {
            stats[step].add(reference, other, pair);
        }
        if !self.before_relu {
            self.take(step, reference, other, pair);
        }
    }

    fn observe_raw(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        self.take(step, reference, other, None);
    }

    fn observe_clipped(&mut self, step: StepId, clipped: u64, count: u64) {
        if let Some(stats) = &mut self.stats {
            stats[step].clipped[0] += clipped;
            stats[step].clipped[1] += count;
        }
    }
}

/// Takes each step's own error.
pub struct Injected<'a>(pub &'a mut [StepStats]);

impl PairObserver for Injected<'_> {
    fn request(&self, _: StepId) -> PairRequest {
        PairRequest::Raw
    }

    fn observe_raw(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        self.0[step].add_injected(reference, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::architecture::Architecture;
    use crate::detector::settings::Settings;

    #[test]
    fn steps_by_number_and_name() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let count = |text: &str| text.parse::<Steps>().unwrap().of(&plan).map(|steps| steps.len());
        assert_eq!(count("all").unwrap(), 53 + 8 + 15);
        assert_eq!(count("first:7").unwrap(), 7);
        assert_eq!(count("backbone.body.layer1,rpn.head.conv.0.0").unwrap(), 10 + 5);
        assert_eq!(count("rpn.head.conv.0.0@P3").unwrap(), 1);
        let selected = Steps::First(3).of(&plan).unwrap();
        let among = |text: &str| text.parse::<Steps>().unwrap().among(&selected, &plan).map(|steps| steps.len());
        assert_eq!(
            (among("all").unwrap(), among("first:2").unwrap(), among("backbone.body.conv1").unwrap()),
            (3, 2, 1)
        );
        assert!(among("rpn").is_err());
        let error = count("backbone.body.layer").unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
    }
}
