//! Tables of an inspection: metrics by step, and the ranking of layers to keep in fp32.

use serde::Serialize;

use super::stats::{Quartiles, StepStats};
use crate::detector::plan::{Op, Plan, StepId};
use crate::quant::Precision;

/// Metrics of one step.
#[derive(Debug, Clone, Serialize)]
pub struct StepRow {
    /// torchvision's name, with the pyramid level if steps share a layer.
    pub step: String,
    /// Number of the step in the plan.
    pub depth: usize,
    /// `int8`, `int8-dynamic` or `fp32`; `as read` if the step only moves values.
    pub precision: &'static str,
    /// SQNR over all pictures, in dB.
    pub sqnr_db: Option<f64>,
    /// SQNR by picture.
    pub sqnr_db_spread: Option<Quartiles>,
    /// SQNR of the step's own error on the reference's inputs, over all pictures, in dB.
    pub injected_db: Option<f64>,
    /// SQNR of the own error by picture.
    pub injected_db_spread: Option<Quartiles>,
    /// Mean absolute error, in units of the activation.
    pub mean_absolute: f64,
    /// Median of |q − f| / |f| over the elements that are not 0 in both networks, by picture.
    pub relative_element: Option<Quartiles>,
    /// The same over pixels of the channels' maximum, by picture.
    pub relative_projection: Option<Quartiles>,
    /// Cosine similarity over all pictures.
    pub cosine: Option<f64>,
    /// Share of values outside the quantization range.
    pub clipped_share: Option<f64>,
}

/// The rows of all measured steps, in the order of the plan.
pub fn rows(plan: &Plan, stats: &[StepStats], precision: impl Fn(StepId) -> Precision) -> Vec<StepRow> {
    let measured = stats.iter().enumerate().filter(|(_, stats)| !stats.sqnr_db.is_empty());
    let row = |(step, stats): (StepId, &StepStats)| StepRow {
        step: plan.steps[step].name.clone(),
        depth: step,
        precision: match plan.steps[step].op {
            Op::MaxPool | Op::Subsample => "as read",
            _ => precision(step).name(),
        },
        sqnr_db: stats.total.sqnr_db().filter(|db| db.is_finite()),
        sqnr_db_spread: Quartiles::of(&stats.sqnr_db),
        injected_db: stats.injected.sqnr_db().filter(|db| db.is_finite()),
        injected_db_spread: Quartiles::of(&stats.injected_db),
        mean_absolute: stats.total.mean_absolute(),
        relative_element: Quartiles::of(&stats.relative_element),
        relative_projection: Quartiles::of(&stats.relative_projection),
        cosine: stats.total.cosine(),
        clipped_share: stats.clipped_share(),
    };
    measured.map(row).collect()
}

/// CSV of the rows.
pub fn to_csv(rows: &[StepRow]) -> String {
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

/// A row of the ranking of layers by their own error, worst first, with the prediction for keeping them in fp32.
#[derive(Debug, Clone, Serialize)]
pub struct KeptLayer {
    /// The layer that is kept in addition to those before it.
    pub layer: String,
    /// SQNR of its own error, the least of its levels, in dB.
    pub injected_db: Option<f64>,
    /// Predicted SQNR in dB of the network with the layers up to this one in fp32: −10·log₁₀ Σρ² over the layers in
    /// int8. ρ² is the noise-to-signal ratio of a layer. Assumes independent errors. `None` if no layer is left.
    pub predicted_db: Option<f64>,
    /// Increase over the prediction without kept layers, in dB.
    pub gain_db: Option<f64>,
    /// Share of all multiply-adds in fp32.
    pub fp32_mac_share: f64,
}

/// Own error and work of one layer.
struct LayerError {
    layer: usize,
    /// Least SQNR of its levels.
    injected_db: f64,
    /// Largest noise-to-signal ratio of its levels.
    noise: f64,
    macs: u64,
}

/// Ranks the layers of `plan` by their own error and predicts the SQNR with the worst ones in fp32. `macs` are
/// multiply-adds by step. The first row keeps no layer.
pub fn sensitivity(plan: &Plan, stats: &[StepStats], macs: &[u64]) -> Vec<KeptLayer> {
    // A layer that several pyramid levels share is ranked by its worst level.
    let mut layers: Vec<LayerError> = Vec::new();
    for (step, stats) in stats.iter().enumerate() {
        let Some(layer) = plan.steps[step].layer() else { continue };
        let Some(db) = stats.injected.sqnr_db().filter(|db| db.is_finite()) else { continue };
        let noise = 10f64.powf(-db / 10.0);
        let macs = macs.get(step).copied().unwrap_or(0);
        match layers.iter_mut().find(|known| known.layer == layer) {
            Some(known) => {
                known.injected_db = known.injected_db.min(db);
                known.noise = known.noise.max(noise);
                known.macs += macs;
            }
            None => layers.push(LayerError { layer, injected_db: db, noise, macs }),
        }
    }
    layers.sort_by(|a, b| a.injected_db.total_cmp(&b.injected_db));
    // Subtract the noise of one layer after the other from the sum.
    let total: u64 = macs.iter().sum();
    let mut noise_left: f64 = layers.iter().map(|layer| layer.noise).sum();
    let predicted = |noise: f64, remaining: usize| (remaining > 0 && noise > 0.0).then(|| -10.0 * noise.log10());
    let first = predicted(noise_left, layers.len());
    let row = |layer: &str, injected_db: Option<f64>, predicted_db: Option<f64>, fp32_macs: u64| KeptLayer {
        layer: layer.to_owned(),
        injected_db,
        predicted_db,
        gain_db: predicted_db.zip(first).map(|(now, first)| now - first),
        fp32_mac_share: fp32_macs as f64 / total.max(1) as f64,
    };
    let mut kept = vec![row("none", None, first, 0)];
    let mut fp32_macs = 0;
    for (at, LayerError { layer, injected_db, noise, macs }) in layers.iter().enumerate() {
        noise_left -= noise;
        fp32_macs += macs;
        let predicted = predicted(noise_left.max(0.0), layers.len() - at - 1);
        kept.push(row(&plan.layers[*layer].name, Some(*injected_db), predicted, fp32_macs));
    }
    kept
}

/// CSV of the ranking.
pub fn kept_to_csv(kept: &[KeptLayer]) -> String {
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
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;
    use crate::detector::tap::{Activation, Values};
    use crate::tensor::Shape;

    #[test]
    fn the_worst_layer_is_kept_first_and_its_noise_subtracted() {
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
