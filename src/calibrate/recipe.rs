//! Recipes: choose the precision of every layer.

use std::str::FromStr;

use super::convert::LayerRecipe;
use crate::detector::plan::{LayerId, Part, Plan};
use crate::error::{Error, Kind, Result};
use crate::quant::{Digits, Granularity, Precision, ScaleRule};

/// Rule that chooses the precision of all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recipe {
    /// All layers in static int8, a weight scale for each output channel.
    #[default]
    Lookout,
    /// The recipe of the paper: the backbone's body in static int8, pyramid and proposal network in fp32, the four
    /// linear layers in dynamic int8 with one weight scale each. Unlike in the paper's code, batch norm is folded into
    /// the convolutions.
    Paper,
}

impl Recipe {
    /// Name on the command line and in the artifact.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookout => "lookout",
            Self::Paper => "paper",
        }
    }

    /// Recipe of every layer of `plan`.
    pub fn layers(self, plan: &Plan) -> Vec<LayerRecipe> {
        let of_layer = |layer: &crate::detector::plan::Layer| match self {
            Self::Lookout => LayerRecipe::default(),
            Self::Paper if layer.kind.is_linear() => LayerRecipe {
                precision: Precision::Int8Dynamic,
                granularity: Granularity::PerTensor,
                rule: ScaleRule::default(),
                digits: Digits::One,
            },
            Self::Paper if layer.part == Part::Body => LayerRecipe::default(),
            Self::Paper => LayerRecipe { precision: Precision::Fp32, ..LayerRecipe::default() },
        };
        plan.layers.iter().map(of_layer).collect()
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Lookout, Self::Paper]
            .into_iter()
            .find(|recipe| recipe.name() == text)
            .ok_or_else(|| Error::new(Kind::Usage, format!("there is no recipe {text:?}; there are lookout and paper")))
    }
}

/// The names in `text`, separated by commas.
pub(super) fn names_in(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Layers that stay in fp32.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum KeepFloat {
    /// None.
    #[default]
    Nothing,
    /// Layers with one of these names, or whose names begin with one and a dot.
    Named(Vec<String>),
    /// The `n` layers with the largest local error.
    Worst(usize),
    /// All layers whose local error has less than this SQNR, in dB.
    Below(f64),
}

impl FromStr for KeepFloat {
    type Err = Error;

    /// Parses `3` as a count, `20dB` as a budget, anything else as names separated by commas.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(count) = text.parse() {
            return Ok(Self::Worst(count));
        }
        if let Some(budget) = text.strip_suffix("dB") {
            let wrong = || Error::new(Kind::Usage, format!("{text:?} is not a budget such as 20dB"));
            return budget.trim().parse().ok().filter(|db: &f64| db.is_finite()).map(Self::Below).ok_or_else(wrong);
        }
        Ok(Self::Named(names_in(text)))
    }
}

impl KeepFloat {
    /// True if the choice depends on the local errors.
    pub const fn needs_ranking(&self) -> bool {
        matches!(self, Self::Worst(_) | Self::Below(_))
    }

    /// The layers to keep. `worst_first` are the int8 layers by local error: (layer, SQNR in dB).
    ///
    /// # Errors
    /// [`Kind::Usage`] with a name that no layer has.
    pub fn layers(&self, plan: &Plan, worst_first: &[(LayerId, f64)]) -> Result<Vec<LayerId>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Worst(count) => Ok(worst_first.iter().take(*count).map(|&(layer, _)| layer).collect()),
            Self::Below(budget) => {
                Ok(worst_first.iter().filter(|&&(_, db)| db < *budget).map(|&(layer, _)| layer).collect())
            }
            Self::Named(names) => {
                let mut kept = Vec::new();
                for name in names {
                    let before = kept.len();
                    kept.extend((0..plan.layers.len()).filter(|&id| plan.layers[id].is_or_is_below(name)));
                    if kept.len() == before {
                        let text = format!("--keep-float {name}: no layer has this name or begins with it");
                        return Err(Error::new(Kind::Usage, text));
                    }
                }
                kept.sort_unstable();
                kept.dedup();
                Ok(kept)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;

    #[test]
    fn counts_budgets_and_names() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let ranked = [(7, 12.0), (3, 19.0), (9, 30.0)];
        let kept = |text: &str| text.parse::<KeepFloat>().unwrap().layers(&plan, &ranked);
        assert_eq!(kept("2").unwrap(), [7, 3]);
        assert_eq!(kept("20dB").unwrap(), [7, 3]);
        assert_eq!(kept("rpn").unwrap().len(), 3);
        assert_eq!(kept("backbone.body.conv1, rpn.head.bbox_pred").unwrap().len(), 2);
        assert!(kept("backbone.bod").is_err());
        assert!("xdB".parse::<KeepFloat>().is_err());
    }

    #[test]
    fn the_papers_recipe_covers_what_the_paper_covers() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let recipes = Recipe::Paper.layers(&plan);
        let count = |precision| recipes.iter().filter(|recipe| recipe.precision == precision).count();
        assert_eq!(count(Precision::Int8Static), 53);
        assert_eq!(count(Precision::Int8Dynamic), 4);
        assert_eq!(count(Precision::Fp32), 11);
    }
}
