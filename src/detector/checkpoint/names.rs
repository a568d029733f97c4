//! Tensor names: those of torchvision 0.13 and later, those before, and those of other networks.
//!
//! In: the names of a state dict. Out: the current name of each tensor that holds weights; and the network that a state
//! dict belongs to if it is no Faster R-CNN, so that the error names it.

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

/// The current name of tensor `name`. torchvision 0.13 wrapped the convolutions of the RPN head and of the feature pyramid in
/// one more container each and remaps on loading (`RPNHead._load_from_state_dict`,
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

/// The network of the state dict, if it is recognizably no Faster R-CNN with a ResNet-FPN body, and the tensor that
/// identifies it.
pub(super) fn other_network(shapes: &Shapes) -> Option<(&'static str, &str)> {
    let find = |sign: &str| shapes.keys().map(String::as_str).find(|name| name.contains(sign));
    let starting = |sign: &str| shapes.keys().map(String::as_str).find(|name| name.starts_with(sign));
    // Special networks first: a Mask R-CNN has all tensors of a Faster R-CNN.
    let by_substring = [
        ("a Mask R-CNN", "roi_heads.mask_"),
        ("a Keypoint R-CNN", "roi_heads.keypoint_"),
        ("an FCOS", "head.regression_head.bbox_ctrness."),
        ("an SSD", "head.classification_head.module_list."),
        ("a RetinaNet", "head.classification_head."),
        ("a DETR or another transformer", "transformer."),
        ("a YOLO", "model.model."),
    ];
    let found = by_substring.into_iter().find_map(|(what, sign)| Some((what, find(sign)?)));
    let by_prefix = [
        ("a ResNet classifier", "fc."),
        ("a segmentation network or another classifier", "classifier."),
        ("a vision transformer", "encoder.layers."),
        ("a ResNet body alone", "layer1."),
        ("a ResNet-FPN backbone alone", "body."),
    ];
    found.or_else(|| by_prefix.into_iter().find_map(|(what, sign)| Some((what, starting(sign)?))))
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
            other_network(&shapes).map(|(what, name)| (what, name.to_owned()))
        };
        let mask = what(&["roi_heads.box_head.fc6.weight", "roi_heads.mask_head.0.0.weight"]).unwrap();
        assert_eq!(mask, ("a Mask R-CNN", "roi_heads.mask_head.0.0.weight".to_owned()));
        assert_eq!(what(&["conv1.weight", "layer1.0.conv1.weight", "fc.weight"]).unwrap().0, "a ResNet classifier");
        assert_eq!(what(&["head.classification_head.cls_logits.weight"]).unwrap().0, "a RetinaNet");
        assert_eq!(what(&["rpn.head.conv.0.0.weight"]), None);
    }
}
