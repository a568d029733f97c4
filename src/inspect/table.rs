//! Every step's figures in rows: for CSV, JSON and the page.

use serde::Serialize;

use super::stats::{Spread, StepStats};
use crate::detector::plan::{Op, Plan, StepId};
use crate::quant::Precision;

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// torchvision's name, with the pyramid level where steps share a layer.
    pub step: String,
    /// The step's number in the plan.
    pub depth: usize,
    /// `int8`, `int8-dynamic` or `fp32`, as the model runs it; `as read` where it only moves values.
    pub precision: &'static str,
    /// Signal to noise over all pictures, in dB.
    pub sqnr_db: Option<f64>,
    /// The same by picture.
    pub sqnr_db_spread: Option<Spread>,
    /// Signal to noise of the step's own error on the reference's inputs, over all pictures, in dB.
    pub injected_db: Option<f64>,
    /// The same by picture.
    pub injected_db_spread: Option<Spread>,
    /// Mean absolute error, in units of the activation.
    pub mean_absolute: f64,
    /// Median over elements of |q − f| / (|f| + 10⁻⁶), by picture.
    pub relative_element: Option<Spread>,
    /// The same over pixels of the channels' maximum.
    pub relative_projection: Option<Spread>,
    /// Cosine over all pictures.
    pub cosine: Option<f64>,
    /// Share of values outside the quantization range.
    pub clipped_share: Option<f64>,
}

/// The rows of all steps that were seen, in the order of the plan.
pub fn rows(plan: &Plan, stats: &[StepStats], precision: impl Fn(StepId) -> Precision) -> Vec<Row> {
    let seen = stats.iter().enumerate().filter(|(_, stats)| !stats.sqnr_db.is_empty());
    let row = |(step, stats): (StepId, &StepStats)| Row {
        step: plan.steps[step].name.clone(),
        depth: step,
        precision: match plan.steps[step].op {
            Op::MaxPool | Op::Subsample => "as read",
            _ => precision(step).name(),
        },
        sqnr_db: stats.total.sqnr_db().filter(|db| db.is_finite()),
        sqnr_db_spread: Spread::of(&stats.sqnr_db),
        injected_db: stats.injected.sqnr_db().filter(|db| db.is_finite()),
        injected_db_spread: Spread::of(&stats.injected_db),
        mean_absolute: stats.total.mean_absolute(),
        relative_element: Spread::of(&stats.relative_element),
        relative_projection: Spread::of(&stats.relative_projection),
        cosine: stats.total.cosine(),
        clipped_share: stats.clipped_share(),
    };
    seen.map(row).collect()
}

/// The rows as CSV.
pub fn to_csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "step,depth,precision,sqnr_db,sqnr_db_median,sqnr_db_q1,sqnr_db_q3,injected_db,injected_db_median,mean_absolute,\
         relative_element,relative_projection,cosine,clipped_share\n",
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for row in rows {
        let spread = row.sqnr_db_spread;
        let cells = [
            row.step.clone(),
            row.depth.to_string(),
            row.precision.to_owned(),
            number(row.sqnr_db),
            number(spread.map(|s| s.median)),
            number(spread.map(|s| s.low)),
            number(spread.map(|s| s.high)),
            number(row.injected_db),
            number(row.injected_db_spread.map(|s| s.median)),
            row.mean_absolute.to_string(),
            number(row.relative_element.map(|s| s.median)),
            number(row.relative_projection.map(|s| s.median)),
            number(row.cosine),
            number(row.clipped_share),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// The layers by how much they err on their own, worst first, and what keeping the first of them in fp32 would give.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// The layer that is kept beside those before it.
    pub layer: String,
    /// Its own signal to noise, the worst of its levels, in dB.
    pub injected_db: Option<f64>,
    /// Predicted signal to noise of the whole with this many kept: −10·log₁₀ Σ ρ² over the layers still in int8, ρ² the
    /// own noise to signal of each. Errors are taken for independent; `None` where none is left.
    pub predicted_db: Option<f64>,
    /// How much more that is than with nothing kept, in dB.
    pub gain_db: Option<f64>,
    /// Share of all multiply-adds that then run in fp32.
    pub fp32_mac_share: f64,
}

/// Ranks the layers of `plan` and predicts; `macs` are multiply-adds by step. The first entry keeps nothing.
pub fn sensitivity(plan: &Plan, stats: &[StepStats], macs: &[u64]) -> Vec<Kept> {
    let mut layers: Vec<(usize, f64, f64, u64)> = Vec::new();
    for (step, stats) in stats.iter().enumerate() {
        let Some(layer) = plan.steps[step].layer() else { continue };
        let Some(db) = stats.injected.sqnr_db().filter(|db| db.is_finite()) else { continue };
        let noise = 10f64.powf(-db / 10.0);
        let work = macs.get(step).copied().unwrap_or(0);
        match layers.iter_mut().find(|(known, ..)| *known == layer) {
            Some((_, worst, sum, all)) => {
                *worst = worst.min(db);
                *sum = sum.max(noise);
                *all += work;
            }
            None => layers.push((layer, db, noise, work)),
        }
    }
    layers.sort_by(|a, b| a.1.total_cmp(&b.1));
    let total: u64 = macs.iter().sum();
    let mut left: f64 = layers.iter().map(|(_, _, noise, _)| noise).sum();
    let predicted = |left: f64, remaining: usize| (remaining > 0 && left > 0.0).then(|| -10.0 * left.log10());
    let first = predicted(left, layers.len());
    let entry = |layer: &str, injected_db: Option<f64>, predicted_db: Option<f64>, work: u64| Kept {
        layer: layer.to_owned(),
        injected_db,
        predicted_db,
        gain_db: predicted_db.zip(first).map(|(now, first)| now - first),
        fp32_mac_share: work as f64 / total.max(1) as f64,
    };
    let mut kept = vec![entry("none", None, first, 0)];
    let mut work = 0;
    for (at, (layer, db, noise, own)) in layers.iter().enumerate() {
        left -= noise;
        work += own;
        let predicted = predicted(left.max(0.0), layers.len() - at - 1);
        kept.push(entry(&plan.layers[*layer].name, Some(*db), predicted, work));
    }
    kept
}

/// The prediction as CSV.
pub fn kept_to_csv(kept: &[Kept]) -> String {
    let mut text = String::from("kept,layer,injected_db,predicted_db,gain_db,fp32_mac_share\n");
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for (count, kept) in kept.iter().enumerate() {
        let [own, all, gain] = [kept.injected_db, kept.predicted_db, kept.gain_db].map(number);
        text.push_str(&format!("{count},{},{own},{all},{gain},{}\n", kept.layer, kept.fp32_mac_share));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::architecture::Architecture;
    use crate::detector::settings::Settings;
    use crate::detector::tap::{Activation, Values};
    use crate::tensor::Shape;

    #[test]
    fn the_worst_layer_is_kept_first_and_its_noise_goes() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let mut stats = vec![StepStats::default(); plan.steps.len()];
        let shape = Shape::new(1, 1, 1);
        // Noise to signal of 10⁻², 10⁻⁴, and on two levels of one layer 10⁻⁶ and 10⁻⁵.
        let names =
            ["backbone.body.conv1", "backbone.body.layer1.0.conv1", "rpn.head.conv.0.0@P2", "rpn.head.conv.0.0@P3"];
        for (name, other) in names.iter().zip([1.1f32, 1.01, 1.001, 1.003_162_3]) {
            let of = |values| Activation { shape, valid_height: 1, valid_width: 1, values: Values::F32(values) };
            let other = [other];
            stats[plan.find(name).unwrap()].add_injected(&of(&[1.0]), &of(&other));
        }
        let mut macs = vec![0; plan.steps.len()];
        macs[plan.find(names[0]).unwrap()] = 3;
        macs[plan.find(names[3]).unwrap()] = 1;
        let kept = sensitivity(&plan, &stats, &macs);
        let layers: Vec<&str> = kept.iter().map(|kept| kept.layer.as_str()).collect();
        assert_eq!(layers, ["none", names[0], names[1], "rpn.head.conv.0.0"]);
        let near =
            |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 0.01, "{found:?} {wanted}");
        near(kept[0].predicted_db, -10.0 * (1e-2f64 + 1e-4 + 1e-5).log10());
        near(kept[1].predicted_db, -10.0 * (1e-4f64 + 1e-5).log10());
        near(kept[1].gain_db, 19.63);
        near(kept[3].injected_db, 50.0);
        assert!(kept[3].predicted_db.is_none());
        assert_eq!(kept[1].fp32_mac_share, 0.75);
        assert_eq!(kept_to_csv(&kept).lines().count(), 5);
    }
}
