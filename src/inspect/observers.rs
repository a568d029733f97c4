//! Observers: collectors of activations while both networks run on one picture.
//!
//! In: pairs of activations, step by step. Out: errors of every step, points of the hexbin plots, and optionally the maps
//! of each step, which are passed on and not stored.

use std::convert::Infallible;
use std::str::FromStr;

use super::hexbin::{AxisScale, Hexbin};
use super::map::{ErrorMaps, ScalarMap, relative};
use super::stats::{ProjectedPair, StepStats, sample};
use super::tensors::TensorFiles;
use crate::detector::plan::{Op, Plan, StepId};
use crate::detector::tap::Activation;
use crate::error::{Error, Kind, Result};
use crate::measure::{PairObserver, PairRequest};

/// Selection of steps: of those with maps and hexbin plots, or of those with tensors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StepSelection {
    /// Every step that can be selected.
    #[default]
    All,
    /// The first N of them.
    First(usize),
    /// Those with one of these names or prefixes.
    Named(Vec<String>),
}

impl FromStr for StepSelection {
    type Err = Infallible;

    /// Parses `all`, `first:N`, or names separated by commas.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let first = text.strip_prefix("first:").and_then(|count| count.parse().ok());
        Ok(match (text, first) {
            ("all", _) => Self::All,
            (_, Some(count)) => Self::First(count),
            _ => Self::Named(text.split(',').map(|name| name.trim().to_owned()).collect()),
        })
    }
}

impl StepSelection {
    /// The selected steps of `plan`, in order. Only convolutions before the proposals can be selected, because later
    /// steps run on regions.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that no such step has.
    pub fn of(&self, plan: &Plan) -> Result<Vec<StepId>> {
        let layers = (0..plan.key_steps.proposals).filter(|&id| matches!(plan.steps[id].op, Op::Layer { .. }));
        self.among_steps(layers.collect(), "convolution before the proposals", plan)
    }

    /// The selected steps of `plan` among all that have values in both networks, in order: also poolings, and the second
    /// stage on its regions.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that no such step has.
    pub fn of_any(&self, plan: &Plan) -> Result<Vec<StepId>> {
        let has_values = |id: &StepId| !matches!(plan.steps[*id].op, Op::Image | Op::Proposals | Op::Detections);
        self.among_steps((0..plan.steps.len()).filter(has_values).collect(), "step with values", plan)
    }

    /// The selected ones of `steps`, which are called `kind` in errors.
    fn among_steps(&self, steps: Vec<StepId>, kind: &str, plan: &Plan) -> Result<Vec<StepId>> {
        match self {
            Self::All => Ok(steps),
            Self::First(count) => Ok(steps.into_iter().take(*count).collect()),
            Self::Named(names) => {
                let matches = |id: &StepId, name: &str| {
                    let step = &plan.steps[*id].name;
                    step.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '@']))
                };
                if let Some(name) = names.iter().find(|name| !steps.iter().any(|id| matches(id, name))) {
                    return Err(Error::new(Kind::Usage, format!("no {kind} has the name or prefix {name}")));
                }
                Ok(steps.into_iter().filter(|id| names.iter().any(|name| matches(id, name))).collect())
            }
        }
    }

    /// The steps of this selection among `selected`, in order.
    ///
    /// # Errors
    /// As [`StepSelection::of`]; [`Kind::Usage`] for a step that is not among `selected`.
    pub fn among(&self, selected: &[StepId], plan: &Plan) -> Result<Vec<StepId>> {
        match self {
            Self::All => Ok(selected.to_vec()),
            Self::First(count) => Ok(selected.iter().copied().take(*count).collect()),
            Self::Named(_) => {
                let named = self.of(plan)?;
                match named.iter().find(|step| !selected.contains(step)) {
                    None => Ok(named),
                    Some(&missing) => {
                        let name = &plan.steps[missing].name;
                        let text = format!("{name} is not among the selected steps: add it to --steps");
                        Err(Error::new(Kind::Usage, text))
                    }
                }
            }
        }
    }
}

/// Range of relative errors in hexbin plots. Errors beyond it are counted in the outermost cells; they occur where the
/// reference is almost 0.
const RATIOS: [f64; 2] = [1e-4, 1e2];

/// The four hexbin plots of one step or of all: absolute and relative error, over activations on a linear and on a
/// symmetric logarithmic scale. Absolute errors have the scale of the activations, relative errors a logarithmic one.
#[derive(Debug, Clone)]
pub struct StepHexbins {
    /// In the order of [`StepHexbins::KINDS`].
    pub plots: [Hexbin; 4],
}

/// Ranges of values and errors, for the axes of hexbin plots.
#[derive(Debug, Clone, Copy)]
pub struct ValueExtent {
    /// Range of the reference's values.
    pub reference: [f32; 2],
    /// Largest absolute error.
    pub absolute: f32,
    /// Largest relative error, at most 10⁴.
    pub relative: f32,
}

impl Default for ValueExtent {
    fn default() -> Self {
        Self { reference: [f32::INFINITY, f32::NEG_INFINITY], absolute: 0.0, relative: 0.0 }
    }
}

impl ValueExtent {
    fn add(&mut self, f: f32, q: f32) {
        self.reference = [self.reference[0].min(f), self.reference[1].max(f)];
        self.absolute = self.absolute.max((q - f).abs());
        self.relative = self.relative.max(relative(f, q).min(1e4));
    }

    /// Extends the ranges to those of `other`.
    pub fn join(&mut self, other: &Self) {
        let [low, high] = self.reference;
        self.reference = [low.min(other.reference[0]), high.max(other.reference[1])];
        self.absolute = self.absolute.max(other.absolute);
        self.relative = self.relative.max(other.relative);
    }
}

/// Kind of a hexbin plot: names of its error and of the scale of its activations.
#[derive(Debug, Clone, Copy)]
pub struct HexbinKind {
    /// `absolute` or `relative`.
    pub error: &'static str,
    /// `linear` or `symlog`.
    pub scale: &'static str,
}

impl StepHexbins {
    /// Kinds of the plots.
    pub const KINDS: [HexbinKind; 4] = [
        HexbinKind { error: "absolute", scale: "linear" },
        HexbinKind { error: "absolute", scale: "symlog" },
        HexbinKind { error: "relative", scale: "linear" },
        HexbinKind { error: "relative", scale: "symlog" },
    ];

    /// Empty plots with ranges 10 % larger than `extent`.
    pub fn new(extent: &ValueExtent) -> Self {
        let x = extent.reference.map(|end| f64::from(end) * 1.1);
        let x = if x[0] <= x[1] { [x[0].min(0.0), x[1].max(0.0)] } else { [0.0, 1.0] };
        let absolute = [0.0, f64::from(extent.absolute) * 1.1];
        let ratio = [RATIOS[0], (f64::from(extent.relative) * 1.1).clamp(RATIOS[0] * 10.0, RATIOS[1])];
        Self {
            plots: [
                Hexbin::new(AxisScale::Linear, AxisScale::Linear, x, absolute),
                Hexbin::new(AxisScale::Symlog, AxisScale::Symlog, x, absolute),
                Hexbin::new(AxisScale::Linear, AxisScale::Log, x, ratio),
                Hexbin::new(AxisScale::Symlog, AxisScale::Log, x, ratio),
            ],
        }
    }

    fn add(&mut self, f: f32, q: f32) {
        if f == 0.0 && q == 0.0 {
            return self.plots.iter_mut().for_each(Hexbin::add_zero);
        }
        let (absolute, ratio) = ((q - f).abs(), relative(f, q));
        let [absolute_linear, absolute_symlog, relative_linear, relative_symlog] = &mut self.plots;
        absolute_linear.add(f, absolute);
        absolute_symlog.add(f, absolute);
        relative_linear.add(f, ratio);
        relative_symlog.add(f, ratio);
    }
}

/// Maps of a step.
#[derive(Debug)]
pub struct StepMaps<'a> {
    /// Map of the reference.
    pub reference: &'a ScalarMap,
    /// Map of the quantized network.
    pub quantized: &'a ScalarMap,
    /// Error maps, if requested.
    pub errors: Option<ErrorMaps>,
}

/// Callback for the maps of a step.
pub type OnMaps<'a> = &'a mut (dyn FnMut(StepId, &StepMaps<'_>) + Send);

/// Observer of one picture.
pub struct PictureObserver<'a> {
    /// By step: true if its maps and points are collected.
    pub selected: &'a [bool],
    /// True to collect the values before the activation function.
    pub before_relu: bool,
    /// Error statistics by step.
    pub stats: Option<&'a mut [StepStats]>,
    /// Ranges by step; if given, they are collected instead of points.
    pub extents: Option<&'a mut [ValueExtent]>,
    /// Hexbin plots of single steps.
    pub hexbins: &'a mut [Option<StepHexbins>],
    /// Hexbin plots of all steps together.
    pub all: Option<&'a mut StepHexbins>,
    /// Approximate number of sampled points of a step.
    pub points: usize,
    /// True to compute error maps.
    pub with_error_maps: bool,
    /// Receives the maps.
    pub on_maps: Option<OnMaps<'a>>,
    /// Writes the values of steps to files.
    pub tensors: Option<TensorFiles<'a>>,
}

impl PictureObserver<'_> {
    /// Collects points and maps of a selected step.
    fn collect(
        &mut self,
        step: StepId,
        reference: &Activation<'_>,
        other: &Activation<'_>,
        maps: Option<&ProjectedPair>,
    ) {
        if !self.selected[step] {
            return;
        }
        if let Some(extents) = &mut self.extents {
            sample(reference, other, self.points, |f, q| extents[step].add(f, q));
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
        let Some(on_maps) = &mut self.on_maps else { return };
        let errors = self.with_error_maps.then(|| ErrorMaps::project(reference, other));
        let projected;
        let maps = match maps {
            Some(maps) => maps,
            None => {
                projected = ProjectedPair::of(reference, other);
                &projected
            }
        };
        on_maps(step, &StepMaps { reference: &maps.reference, quantized: &maps.other, errors });
    }
}

impl PairObserver for PictureObserver<'_> {
    fn request(&self, step: StepId) -> PairRequest {
        match self.before_relu && self.selected[step] {
            true => PairRequest::Raw,
            false if self.stats.is_some() => PairRequest::Clipping,
            false => PairRequest::Output,
        }
    }

    fn observe(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        let wants_maps = self.on_maps.is_some() && self.selected[step] && !self.before_relu;
        let maps = (self.stats.is_some() || wants_maps).then(|| ProjectedPair::of(reference, other));
        if let Some(stats) = &mut self.stats {
            stats[step].add(reference, other, maps.as_ref());
        }
        if let Some(tensors) = &mut self.tensors {
            tensors.add(step, reference, other);
        }
        if !self.before_relu {
            self.collect(step, reference, other, maps.as_ref());
        }
    }

    fn observe_raw(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        self.collect(step, reference, other, None);
    }

    fn observe_clipped(&mut self, step: StepId, clipped: u64, count: u64) {
        if let Some(stats) = &mut self.stats {
            stats[step].clipped += clipped;
            stats[step].clip_checked += count;
        }
    }
}

/// Observer that collects each step's own error.
pub struct OwnErrorObserver<'a>(pub &'a mut [StepStats]);

impl PairObserver for OwnErrorObserver<'_> {
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
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;

    #[test]
    fn steps_are_selected_by_number_and_name() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let count = |text: &str| text.parse::<StepSelection>().unwrap().of(&plan).map(|steps| steps.len());
        assert_eq!(count("all").unwrap(), 53 + 8 + 15);
        assert_eq!(count("first:7").unwrap(), 7);
        assert_eq!(count("backbone.body.layer1,rpn.head.conv.0.0").unwrap(), 10 + 5);
        assert_eq!(count("rpn.head.conv.0.0@P3").unwrap(), 1);
        let selected = StepSelection::First(3).of(&plan).unwrap();
        let among =
            |text: &str| text.parse::<StepSelection>().unwrap().among(&selected, &plan).map(|steps| steps.len());
        assert_eq!(
            (among("all").unwrap(), among("first:2").unwrap(), among("backbone.body.conv1").unwrap()),
            (3, 2, 1)
        );
        assert!(among("rpn").is_err());
        let any = |text: &str| text.parse::<StepSelection>().unwrap().of_any(&plan).map(|steps| steps.len());
        assert_eq!((any("backbone.body.maxpool").unwrap(), any("roi_heads.box_roi_pool").unwrap()), (1, 1));
        assert_eq!(any("all").unwrap(), plan.steps.len() - 3);
        assert_eq!(any("rpn.filter_proposals").unwrap_err().kind(), Kind::Usage);
        let error = count("backbone.body.layer").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
    }
}
