//! Channel equalization: the same network with channels of an edge that suit one quantization range.
//!
//! An edge stored in bytes has one scale for all channels, and so has a filter for all of its weights. A channel of small
//! values gets few of the levels of the edge, and small weights get few of the filter's. The values of a channel are
//! divided by a factor, and the weights that read it are multiplied by it. That leaves the network as it was: sums,
//! means, maxima and ReLU commute with a positive factor. (Nagel et al., "Data-Free Quantization Through Weight
//! Equalization and Bias Correction", 2019.) The factors are folded into weights and biases, at no cost at run time.
//!
//! Edges that are added to each other, or that one layer reads or writes on several levels, have the same factors: they
//! are a *group*. The maps of the pyramid keep their units, because RoIAlign and the proposal network both read them,
//! and because errors are reported there.

use super::plan::{Layer, LayerId, LayerKind, Op, Plan, StepId};
use super::weights::FoldedLayer;
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation;
use crate::quant::largest_magnitude;

/// Smallest and largest factor that a file may hold.
const LIMITS: (f64, f64) = (1.0 / 16.0, 16.0);
/// Largest factor that is chosen, and the inverse of the smallest. A channel that was small on the pictures may be larger
/// on others. The more it was raised, the more of it is then clipped: with 16, clear weather was drift to the street's
/// second linear layer. On pictures like those that chose, 16 gains nothing over 4.
const MOST: f64 = 4.0;

/// Groups of edges that share the factors of their channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelGroups {
    /// By step: the group of its output; `None` where channels keep their units.
    of_step: Vec<Option<usize>>,
    /// By group: number of channels.
    channels: Vec<usize>,
}

/// Steps joined to sets, each known by its first step.
struct Sets(Vec<StepId>);

impl Sets {
    fn first(&self, mut step: StepId) -> StepId {
        while self.0[step] != step {
            step = self.0[step];
        }
        step
    }

    fn join(&mut self, one: StepId, other: StepId) {
        let (one, other) = (self.first(one), self.first(other));
        self.0[one.max(other)] = one.min(other);
    }
}

/// True if f(s · x) = s · f(x) for every s > 0.
fn is_homogeneous(function: Activation) -> bool {
    matches!(function, Activation::Identity | Activation::Relu)
}

impl ChannelGroups {
    /// The groups of `plan`.
    pub fn new(plan: &Plan) -> Self {
        let mut sets = Sets((0..plan.steps.len()).collect());
        let mut fixed: Vec<StepId> = plan.levels.iter().map(|level| level.step).collect();
        let mut first_use: Vec<Option<StepId>> = vec![None; plan.layers.len()];
        for (id, step) in plan.steps.iter().enumerate() {
            match step.op {
                Op::Layer { layer, activation, skip } => {
                    if !is_homogeneous(activation) {
                        fixed.push(id);
                    }
                    if skip {
                        sets.join(id, step.inputs[1]);
                    }
                    // A layer has one set of weights for all levels.
                    let first = *first_use[layer].get_or_insert(id);
                    sets.join(id, first);
                    sets.join(step.inputs[0], plan.steps[first].inputs[0]);
                }
                Op::MaxPool | Op::Subsample | Op::GlobalMean => sets.join(id, step.inputs[0]),
                Op::Activate(function) => {
                    sets.join(id, step.inputs[0]);
                    if !is_homogeneous(function) {
                        fixed.push(id);
                    }
                }
                Op::Scale => {
                    sets.join(id, step.inputs[0]);
                    fixed.push(step.inputs[1]);
                }
                // Grey levels, coordinates and scores have their units.
                Op::Image | Op::RoiAlign | Op::Proposals | Op::Detections => {
                    fixed.push(id);
                    fixed.extend(&step.inputs);
                }
            }
        }
        let mut is_fixed = vec![false; plan.steps.len()];
        fixed.into_iter().for_each(|step| is_fixed[sets.first(step)] = true);
        let shapes = plan.shapes(64, 64, 1);
        let mut channels = Vec::new();
        let mut of_step: Vec<Option<usize>> = vec![None; plan.steps.len()];
        for step in 0..plan.steps.len() {
            let first = sets.first(step);
            if !is_fixed[first] {
                if step == first {
                    channels.push(shapes[step].channels);
                }
                of_step[step] = if step == first { Some(channels.len() - 1) } else { of_step[first] };
            }
        }
        Self { of_step, channels }
    }

    /// The group of the output of `step`.
    pub fn of(&self, step: StepId) -> Option<usize> {
        self.of_step.get(step).copied().flatten()
    }

    /// Number of channels of each group.
    pub fn channels(&self) -> &[usize] {
        &self.channels
    }
}

/// Factors of the channels of every group: fp32's value is that of the equalized network times the factor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Equalization {
    groups: ChannelGroups,
    /// By group and channel.
    factors: Vec<Vec<f32>>,
}

impl Equalization {
    /// The factors of `plan`, whose weights are `folded` and whose largest absolute values by group and channel are
    /// `largest`.
    ///
    /// The factor of a channel is √(r / w). r is its largest absolute value, w its largest weight relative to the largest
    /// of the filter. Both become √(r · w): neither the edge nor the filters prefer one channel (Xiao et al.,
    /// "SmoothQuant", 2023, with α = ½). A depthwise filter reads one channel and has its own scale, so that r alone
    /// counts where no other layer reads. Factors are relative to their geometric mean over the group and at most four
    /// times off it. A channel without values or weights has the factor 1.
    pub fn new(plan: &Plan, groups: ChannelGroups, folded: &[FoldedLayer], largest: &[Vec<f32>]) -> Self {
        let weights = largest_weights(plan, &groups, folded);
        let factors = largest.iter().zip(&weights).map(|(largest, weights)| {
            let is_read_across = weights.iter().any(|weight| *weight > 0.0);
            let factor = |(&value, &weight): (&f32, &f32)| {
                let (value, weight) = (f64::from(value), f64::from(weight));
                if is_read_across { (value / weight).sqrt() } else { value }
            };
            let raw: Vec<f64> = largest.iter().zip(weights).map(factor).collect();
            limited(&raw)
        });
        let factors = factors.collect();
        Self { groups, factors }
    }

    /// The factors `stored` for `plan`, group after group; none of an empty slice.
    ///
    /// # Errors
    /// [`Kind::Data`] with a wrong number of factors, or one outside 1/16 to 16.
    pub fn from_stored(plan: &Plan, stored: &[f32]) -> Result<Self> {
        if stored.is_empty() {
            return Ok(Self::default());
        }
        let groups = ChannelGroups::new(plan);
        let expected: usize = groups.channels.iter().sum();
        if stored.len() != expected {
            let text = format!("{} factors of channels; the network has {expected}", stored.len());
            return Err(Error::new(Kind::Data, text));
        }
        if let Some(at) = stored.iter().position(|factor| !(LIMITS.0..=LIMITS.1).contains(&f64::from(*factor))) {
            let text = format!("factor {at} of the channels is {}, not between 1/16 and 16", stored[at]);
            return Err(Error::new(Kind::Data, text));
        }
        let mut rest = stored;
        let factors = groups.channels.iter().map(|&channels| {
            let (factors, others) = rest.split_at(channels);
            rest = others;
            factors.to_vec()
        });
        let factors = factors.collect();
        Ok(Self { groups, factors })
    }

    /// All factors, group after group; empty if nothing is equalized.
    pub fn stored(&self) -> Vec<f32> {
        self.factors.concat()
    }

    /// True if nothing is equalized.
    pub fn is_none(&self) -> bool {
        self.factors.is_empty()
    }

    /// Folds the factors of what `layer` reads and writes into its weights and bias.
    pub fn fold_into(&self, plan: &Plan, layer: LayerId, folded: &mut FoldedLayer) {
        let Some(step) = plan.steps.iter().position(|step| step.layer() == Some(layer)) else { return };
        let of = |step| self.groups.of(step).map(|group| self.factors[group].as_slice());
        let (read, written) = (of(plan.steps[step].inputs[0]), of(step));
        if read.is_none() && written.is_none() {
            return;
        }
        let reads = Reads::of(&plan.layers[layer]);
        for (out, weights) in folded.weights.chunks_exact_mut(reads.depth).enumerate() {
            let divisor = written.map_or(1.0, |factors| f64::from(factors[out]));
            for (at, weight) in weights.iter_mut().enumerate() {
                let factor = read.map_or(1.0, |factors| f64::from(factors[reads.channel(out, at)]));
                *weight = (f64::from(*weight) * factor / divisor) as f32;
            }
            folded.bias[out] = (f64::from(folded.bias[out]) / divisor) as f32;
        }
    }
}

/// `raw` factors relative to the geometric mean of those that are positive and finite, from 1 / [`MOST`] to [`MOST`]; 1 for
/// the others.
fn limited(raw: &[f64]) -> Vec<f32> {
    let is_live = |raw: &f64| raw.is_finite() && *raw > 0.0;
    let live: Vec<f64> = raw.iter().copied().filter(is_live).collect();
    let mean = libm::exp(live.iter().map(|raw| libm::log(*raw)).sum::<f64>() / live.len().max(1) as f64);
    let relative = |raw: &f64| if is_live(raw) { raw / mean } else { 1.0 };
    raw.iter().map(|raw| relative(raw).clamp(1.0 / MOST, MOST) as f32).collect()
}

/// Which channel each weight of a layer reads.
struct Reads {
    /// Weights of a filter.
    depth: usize,
    /// Channels after which those of the next place of the filter follow.
    repeat: usize,
    group_channels: usize,
    /// Filters that read the same channels.
    outputs: usize,
}

impl Reads {
    fn of(layer: &Layer) -> Self {
        let geometry = &layer.geometry;
        let group_channels = geometry.group_channels();
        let repeat = match layer.kind {
            LayerKind::WindowLinear(rows, columns) => group_channels / (rows * columns),
            _ => group_channels,
        };
        let depth = geometry.taps() * group_channels;
        Self { depth, repeat, group_channels, outputs: geometry.out_channels / geometry.groups }
    }

    /// The channel that weight `at` of filter `out` reads.
    fn channel(&self, out: usize, at: usize) -> usize {
        out / self.outputs * self.group_channels + at % self.repeat
    }
}

/// By group and channel: the largest absolute weight that reads it, relative to the largest of its filter; 0 where only
/// depthwise filters read it.
fn largest_weights(plan: &Plan, groups: &ChannelGroups, folded: &[FoldedLayer]) -> Vec<Vec<f32>> {
    let mut largest: Vec<Vec<f32>> = groups.channels.iter().map(|&channels| vec![0.0; channels]).collect();
    for step in &plan.steps {
        let Some(layer) = step.layer().filter(|&layer| !plan.layers[layer].geometry.is_depthwise()) else { continue };
        let Some(group) = groups.of(step.inputs[0]) else { continue };
        let reads = Reads::of(&plan.layers[layer]);
        for (out, weights) in folded[layer].weights.chunks_exact(reads.depth).enumerate() {
            let most = largest_magnitude(weights);
            for (at, weight) in weights.iter().enumerate().filter(|_| most > 0.0) {
                let of_channel = &mut largest[group][reads.channel(out, at)];
                *of_channel = of_channel.max(weight.abs() / most);
            }
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;

    fn plan() -> Plan {
        Plan::new(Architecture::resnet50_fpn(3), Settings::default())
    }

    fn group(plan: &Plan, groups: &ChannelGroups, name: &str) -> Option<usize> {
        groups.of(plan.find(name).unwrap_or_else(|| panic!("{name}")))
    }

    #[test]
    fn edges_that_are_added_share_a_group_and_levels_have_none() {
        let plan = plan();
        let groups = ChannelGroups::new(&plan);
        let of = |name: &str| group(&plan, &groups, name);
        let trunk = of("backbone.body.layer1.0.conv3");
        assert!(trunk.is_some());
        for name in ["layer1.0.downsample.0", "layer1.1.conv3", "layer1.2.conv3"] {
            assert_eq!(of(&format!("backbone.body.{name}")), trunk, "{name}");
        }
        assert_ne!(of("backbone.body.layer2.0.conv3"), trunk);
        assert_eq!(of("backbone.body.conv1"), of("backbone.body.maxpool"));
        let laterals = of("backbone.fpn.inner_blocks.0.0");
        assert!(laterals.is_some());
        assert_eq!(of("backbone.fpn.inner_blocks.3.0"), laterals);
        assert_eq!(of("rpn.head.conv.0.0@P2"), of("rpn.head.conv.0.0@P5"));
        for fixed in [
            "transform",
            "backbone.fpn.layer_blocks.0.0",
            "rpn.head.cls_logits@P2",
            "roi_heads.box_predictor.bbox_pred",
        ] {
            assert_eq!(of(fixed), None, "{fixed}");
        }
        assert!(of("roi_heads.box_head.fc6").is_some());
    }

    #[test]
    fn a_channel_that_was_hardly_seen_is_raised_little() {
        assert_eq!(limited(&[1e-6, 2.0, 8.0]), [0.25, 4.0, 4.0]);
        assert_eq!(limited(&[0.0, 2.0, 8.0, f64::INFINITY, f64::NAN]), [1.0, 0.5, 2.0, 1.0, 1.0]);
        assert_eq!(limited(&[0.0]), [1.0]);
    }

    #[test]
    fn stored_factors_are_read_back_and_checked() {
        let plan = plan();
        let expected: usize = ChannelGroups::new(&plan).channels().iter().sum();
        let mut stored: Vec<f32> = (0..expected).map(|at| 0.5 + (at % 7) as f32).collect();
        assert_eq!(Equalization::from_stored(&plan, &stored).unwrap().stored(), stored);
        assert!(Equalization::from_stored(&plan, &[]).unwrap().is_none());
        assert!(Equalization::from_stored(&plan, &stored[1..]).is_err());
        for wrong in [0.0, -1.0, 17.0, f32::NAN, f32::INFINITY] {
            stored[5] = wrong;
            let error = Equalization::from_stored(&plan, &stored).unwrap_err();
            assert!(error.message().starts_with("factor 5 of the channels is"), "{}", error.message());
        }
    }
}
