//! Coverage: the share of a network's multiply-adds and parameters in int8.

use serde::Serialize;

use crate::detector::plan::{Part, Plan, StepId};
use crate::error::Result;
use crate::preprocess::TransformParams;
use crate::quant::Precision;

/// Width and height of the picture that multiply-adds are counted for: those of KITTI.
const PICTURE: (usize, usize) = (1242, 375);

/// Multiply-adds and parameters of one module, by precision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Coverage {
    /// 10⁹ multiply-adds of its convolutions and linear layers, for a picture of 1242×375 and the maximum of proposals.
    pub gmac: f64,
    /// Those in static int8.
    pub gmac_int8: f64,
    /// Those in dynamic int8.
    pub gmac_dynamic: f64,
    /// Number of parameters, each counted once.
    pub parameters: u64,
    /// Those stored in int8, static or dynamic.
    pub parameters_int8: u64,
}

impl Coverage {
    /// Adds the counts of another module.
    pub fn add(&mut self, other: &Self) {
        self.gmac += other.gmac;
        self.gmac_int8 += other.gmac_int8;
        self.gmac_dynamic += other.gmac_dynamic;
        self.parameters += other.parameters;
        self.parameters_int8 += other.parameters_int8;
    }

    /// Share of the multiply-adds in int8, static or dynamic, 0 to 1.
    pub fn mac_share(&self) -> f64 {
        if self.gmac > 0.0 { (self.gmac_int8 + self.gmac_dynamic) / self.gmac } else { 0.0 }
    }
}

/// Coverage of every module of `plan`; `precision` gives that of each step.
///
/// # Errors
/// As [`TransformParams::fit`], if the settings allow no canvas for the picture.
pub fn coverage(plan: &Plan, precision: impl Fn(StepId) -> Precision) -> Result<Vec<(Part, Coverage)>> {
    let fit = TransformParams::from(&plan.settings.transform).fit(PICTURE.0, PICTURE.1)?;
    let shapes = plan.shapes(fit.canvas_height, fit.canvas_width, plan.settings.rpn.post_nms_top_n);
    let macs = plan.macs(&shapes);
    let mut rows = Part::ALL.map(|part| (part, Coverage::default()));
    let mut is_counted = vec![false; plan.layers.len()];
    for (id, step) in plan.steps.iter().enumerate() {
        let part = step.part;
        let (Some(layer), Some((_, row))) = (step.layer(), rows.iter_mut().find(|(known, _)| *known == part)) else {
            continue;
        };
        let gmac = macs[id] as f64 / 1e9;
        row.gmac += gmac;
        match precision(id) {
            Precision::Int8Static => row.gmac_int8 += gmac,
            Precision::Int8Dynamic => row.gmac_dynamic += gmac,
            Precision::Fp32 => {}
        }
        if !std::mem::replace(&mut is_counted[layer], true) {
            let parameters = plan.layers[layer].parameters();
            row.parameters += parameters;
            row.parameters_int8 += if precision(id) == Precision::Fp32 { 0 } else { parameters };
        }
    }
    Ok(rows.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;

    #[test]
    fn a_kitti_frame_costs_what_the_paper_s_network_costs() {
        let plan = Plan::new(Architecture::resnet50_fpn(10), Settings::default());
        let rows = coverage(&plan, |_| Precision::Int8Static).unwrap();
        let mut all = Coverage::default();
        rows.iter().for_each(|(_, row)| all.add(row));
        assert!((all.gmac - 118.8).abs() < 0.1, "{}", all.gmac);
        assert!((rows[0].1.gmac - 45.5).abs() < 0.1);
        assert_eq!(all.mac_share(), 1.0);
        assert!((all.parameters as f64 / 1e6 - 41.34).abs() < 0.02, "{}", all.parameters);
        let body_only =
            |step: StepId| if plan.steps[step].part == Part::Body { Precision::Int8Static } else { Precision::Fp32 };
        let rows = coverage(&plan, body_only).unwrap();
        assert_eq!((rows[0].1.mac_share(), rows[1].1.mac_share()), (1.0, 0.0));
    }
}
