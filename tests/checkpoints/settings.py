"""Writes the settings of a torchvision Faster R-CNN as TOML, for `lookout import --settings`.

    from settings import write
    write(model, "settings.toml")

A state dict holds weights only. Sizes, anchors, thresholds and epsilons are attributes of the live model, and `read`
takes every one of them from there. It raises ValueError for what one file cannot say. A part without batch norms has
no epsilon, and `body.returned` is absent where no IntermediateLayerGetter chooses the outputs. Written for torchvision
0.23.
"""

import json
import pathlib

from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import FrozenBatchNorm2d


def epsilon(part, modules):
    """The epsilon that all batch norms of these modules share, nothing where they have none."""
    norms = [
        norm for module in modules for norm in module.modules() if isinstance(norm, (_BatchNorm, FrozenBatchNorm2d))
    ]
    values = {norm.eps for norm in norms}
    if len(values) > 1:
        raise ValueError(f"the batch norms of the {part} have several eps, {sorted(values)}: one is needed")
    return {part: float(values.pop())} if values else {}


def floats(values):
    return [float(value) for value in values]


def read(model):
    """Every setting of a FasterRCNN as a dict of tables."""
    transform, rpn, roi, pool = model.transform, model.rpn, model.roi_heads, model.roi_heads.box_roi_pool
    body = getattr(model.backbone, "body", model.backbone)
    pyramid = [model.backbone.fpn] if hasattr(model.backbone, "fpn") else []
    if transform.fixed_size is not None:
        raise ValueError(f"the transform has fixed_size {transform.fixed_size}: min_size and max_size are needed")
    if len(set(pool.output_size)) > 1:
        raise ValueError(f"box_roi_pool has the output size {pool.output_size}: a square one is needed")
    norms = epsilon("body", [body]) | epsilon("pyramid", pyramid) | epsilon("heads", [rpn, roi])
    settings = {
        "transform": {
            "min_size": list(transform.min_size),  # torchvision tests with the last
            "max_size": transform.max_size,
            "mean": floats(transform.image_mean),
            "std": floats(transform.image_std),
            "size_divisor": transform.size_divisible,
        },
        "anchors": {
            "sizes": [floats(level) for level in rpn.anchor_generator.sizes],
            "aspect_ratios": [floats(level) for level in rpn.anchor_generator.aspect_ratios],
        },
        "rpn": {
            "pre_nms_top_n": rpn._pre_nms_top_n["testing"],
            "post_nms_top_n": rpn._post_nms_top_n["testing"],
            "nms_threshold": float(rpn.nms_thresh),
            "score_threshold": float(rpn.score_thresh),
            "min_size": float(rpn.min_size),
            "box_weights": floats(rpn.box_coder.weights),
        },
        "roi": {
            "levels": list(pool.featmap_names),
            "output_size": pool.output_size[0],
            "sampling_ratio": pool.sampling_ratio,
            "canonical_scale": pool.canonical_scale,
            "canonical_level": pool.canonical_level,
            "score_threshold": float(roi.score_thresh),
            "nms_threshold": float(roi.nms_thresh),
            "max_detections": roi.detections_per_img,
            "box_weights": floats(roi.box_coder.weights),
        },
        "batch_norm_eps": norms,
    }
    if hasattr(body, "return_layers"):
        settings["body"] = {"returned": list(body.return_layers)}
    return settings


def write(model, path):
    """Writes what `read` finds to a TOML file."""
    # JSON's numbers, ASCII strings and lists are TOML's.
    tables = [
        "\n".join([f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]) + "\n"
        for table, keys in read(model).items()
    ]
    pathlib.Path(path).write_text("\n".join(tables))
