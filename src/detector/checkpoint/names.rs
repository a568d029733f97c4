//! Tensor names: those of torchvision 0.13 and later, those before, and those of other networks.
//!
//! In: the names of a state dict. Out: the current name of each tensor that holds weights. For a state dict that is no
//! Faster R-CNN: the network that it belongs to, for the error.

use super::super::network::Shapes;

/// The current name of a tensor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CurrentName {
    /// Unchanged.
    Unchanged,
    /// torchvision renamed it to this.
    Renamed(String),
    /// A counter of training batches, which inference does not need.
    Ignored,
}

/// The current name of tensor `name`. Since version 0.13, torchvision wraps each convolution of the RPN head and of the
/// feature pyramid in one more container. It remaps older names on loading (`RPNHead._load_from_state_dict`,
/// `FeaturePyramidNetwork._load_from_state_dict`).
pub(super) fn current(name: &str) -> CurrentName {
    if name == "num_batches_tracked" || name.ends_with(".num_batches_tracked") {
        return CurrentName::Ignored;
    }
    let (module, parameter) = name.rsplit_once('.').unwrap_or(("", name));
    if !matches!(parameter, "weight" | "bias") {
        return CurrentName::Unchanged;
    }
    if module == "rpn.head.conv" {
        return CurrentName::Renamed(format!("rpn.head.conv.0.0.{parameter}"));
    }
    let pyramid = ["backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks."];
    let level = pyramid.iter().find_map(|prefix| module.strip_prefix(prefix));
    if level.is_some_and(|level| level.parse::<u8>().is_ok()) {
        return CurrentName::Renamed(format!("{module}.0.{parameter}"));
    }
    CurrentName::Unchanged
}

/// A network or program whose state dicts are not imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OtherNetwork {
    /// Its name, with an article.
    pub(super) what: &'static str,
    /// Advice for the user, if there is any.
    remedy: &'static str,
}

/// Advice for the files of other programs.
const CONVERT: &str = "; import reads torchvision's layout alone: convert names and layout with a script and compare \
                       the detections, or train with torchvision's reference script";

impl OtherNetwork {
    pub(super) const DETECTRON2: Self = Self { what: "a Detectron2 checkpoint", remedy: CONVERT };
    pub(super) const MMDETECTION: Self = Self { what: "an MMDetection checkpoint", remedy: CONVERT };

    const fn plain(what: &'static str) -> Self {
        Self { what, remedy: "" }
    }

    /// The expected network, and the advice.
    pub(super) fn expected(self) -> String {
        let Self { remedy, .. } = self;
        format!("expected a Faster R-CNN of torchvision{remedy}")
    }
}

/// The network of the state dict, if it is recognizably no Faster R-CNN of torchvision, and the tensor that
/// identifies it.
pub(super) fn other_network(shapes: &Shapes) -> Option<(OtherNetwork, &str)> {
    foreign(|| shapes.keys().map(String::as_str))
}

/// As [`other_network`], by the names alone.
pub(super) fn foreign<'a, I: Iterator<Item = &'a str>>(names: impl Fn() -> I) -> Option<(OtherNetwork, &'a str)> {
    let find = |sign: &str| names().find(|name| name.contains(sign));
    let starting = |sign: &str| names().find(|name| name.starts_with(sign));
    // Other programs first, then special networks: a Mask R-CNN has all tensors of a Faster R-CNN.
    let by_substring = [
        (OtherNetwork::DETECTRON2, "backbone.bottom_up."),
        (OtherNetwork::DETECTRON2, "proposal_generator."),
        (OtherNetwork::MMDETECTION, "neck.lateral_convs."),
        (OtherNetwork::MMDETECTION, "rpn_head.rpn_"),
        (OtherNetwork::MMDETECTION, "bbox_head."),
        (OtherNetwork::plain("a Mask R-CNN"), "roi_heads.mask_"),
        (OtherNetwork::plain("a Keypoint R-CNN"), "roi_heads.keypoint_"),
        (OtherNetwork::plain("an FCOS"), "head.regression_head.bbox_ctrness."),
        (OtherNetwork::plain("an SSD"), "head.classification_head.module_list."),
        (OtherNetwork::plain("a RetinaNet"), "head.classification_head."),
        (OtherNetwork::plain("a DETR or another transformer"), "transformer."),
        (OtherNetwork::plain("a YOLO"), "model.model."),
    ];
    let found = by_substring.into_iter().find_map(|(network, sign)| Some((network, find(sign)?)));
    let by_prefix = [
        ("a ResNet classifier", "fc."),
        ("a segmentation network or another classifier", "classifier."),
        ("a vision transformer", "encoder.layers."),
        ("a ResNet body alone", "layer1."),
        ("a ResNet-FPN backbone alone", "body."),
    ];
    found.or_else(|| by_prefix.into_iter().find_map(|(what, sign)| Some((OtherNetwork::plain(what), starting(sign)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_become_current_and_current_names_stay() {
        let renamed = |name: &str| CurrentName::Renamed(name.to_owned());
        for (old, new) in [
            ("rpn.head.conv.weight", renamed("rpn.head.conv.0.0.weight")),
            ("rpn.head.conv.bias", renamed("rpn.head.conv.0.0.bias")),
            ("backbone.fpn.inner_blocks.0.weight", renamed("backbone.fpn.inner_blocks.0.0.weight")),
            ("backbone.fpn.layer_blocks.3.bias", renamed("backbone.fpn.layer_blocks.3.0.bias")),
            ("rpn.head.conv.0.0.weight", CurrentName::Unchanged),
            ("backbone.fpn.inner_blocks.0.0.weight", CurrentName::Unchanged),
            ("rpn.head.conv.surprise", CurrentName::Unchanged),
            ("backbone.body.bn1.num_batches_tracked", CurrentName::Ignored),
        ] {
            assert_eq!(current(old), new, "{old}");
        }
    }

    #[test]
    fn other_networks_are_recognized_by_a_tensor() {
        let what = |names: &[&str]| {
            let shapes: Shapes = names.iter().map(|name| ((*name).to_owned(), vec![1])).collect();
            other_network(&shapes).map(|(network, name)| (network.what, name.to_owned()))
        };
        let mask = what(&["roi_heads.box_head.fc6.weight", "roi_heads.mask_head.0.0.weight"]).unwrap();
        assert_eq!(mask, ("a Mask R-CNN", "roi_heads.mask_head.0.0.weight".to_owned()));
        assert_eq!(what(&["conv1.weight", "layer1.0.conv1.weight", "fc.weight"]).unwrap().0, "a ResNet classifier");
        assert_eq!(what(&["head.classification_head.cls_logits.weight"]).unwrap().0, "a RetinaNet");
        assert_eq!(what(&["rpn.head.conv.0.0.weight"]), None);
        for name in ["backbone.bottom_up.res2.0.conv1.weight", "proposal_generator.rpn_head.conv.weight"] {
            assert_eq!(what(&[name, "roi_heads.mask_head.predictor.bias"]).unwrap().0, "a Detectron2 checkpoint");
        }
        for name in ["neck.lateral_convs.0.conv.weight", "rpn_head.rpn_conv.weight", "roi_head.bbox_head.fc_cls.bias"] {
            assert_eq!(what(&["backbone.layer1.0.conv1.weight", name]).unwrap().0, "an MMDetection checkpoint");
        }
    }
}
