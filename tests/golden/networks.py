"""Golden files of every kind of Faster R-CNN that torchvision builds: narrow random detectors and what it computes with them.

Out come, in `networks/` beside this script, for each network

    <net>.safetensors              the checkpoint, with torchvision's own names
    <net>.settings.toml            its settings, written by tests/checkpoints/settings.py
    <net>-<picture>.safetensors    a picture and its result, for `stages` with what every stage made of it
    <net>-<picture>.settings.toml  only where the picture was taken with other settings than the network was built with

A file of a picture has, batch dimension dropped and channels first:

    image_u8 (H, W, 3)        transformed, transformed_size_hw (before padding)
    body.0 ..                 what leaves the body, in the order in which the pyramid or the first stage takes it
    level.0 ..                what the first stage gets, `pool`, `p6` and `p7` included
    objectness.0 ..           (anchors, h, w)
    rpn_deltas.0 ..           (anchors x 4, h, w), anchor-major: a0 dx dy dw dh, a1 ...
    proposals                 pixels of `transformed`, best first
    roi_features_firstN       RoIAlign of the first N proposals
    box_head, class_logits, box_deltas (class-major fours)
    boxes, scores, labels     the result, boxes in pixels of `image_u8`
    inner.<module>            outputs of a few modules within a body

The metadata of both kinds of file gives `kind`, the builder that the network follows, and `settings`, everything of the TOML
file as JSON. A picture's gives also the checkpoint's name and sha256, and how many (box, class) pairs passed the score
threshold (`candidates`).

The bodies, pyramids and heads are torchvision's, with fewer channels; calibrate.py scales their random weights. A picture
is refused if its result hangs on rounding: the whole network in float64, and proposals and result in float64 from the stage
before, have to give the same, and the levels may differ by 4e-6 of their norm.

    v/bin/python tests/golden/networks.py [NET ...]        # environment as for make.py; rewrites the files in place
"""

import collections
import copy
import functools
import hashlib
import json
import pathlib
import sys

import torch
import torchvision
from torch import nn
from torchvision.models import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small, resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _mobilenet_extractor, _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from calibrate import make_plausible
from make import disagreement, narrow_resnet, picture, save_file, to_input

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "checkpoints"))
import settings

LABELS = ["__background__", "Person", "TwoWheeler", "Vehicle", "Animal", "Sign", "Light"]
RATIOS = (0.5, 1.0, 2.0)


def norm(eps):
    return functools.partial(nn.BatchNorm2d, eps=eps)


def pyramid(backbone, channels, norm_layer=None):
    """The backbone with a pyramid of fewer channels than the 256 that the builders take."""
    inputs = [block[0].in_channels for block in backbone.fpn.inner_blocks]
    backbone.fpn = FeaturePyramidNetwork(inputs, channels, backbone.fpn.extra_blocks, norm_layer)
    backbone.out_channels = channels
    return backbone


def resnet_fpn(body, channels, returned=None, extra=None, norm_layer=None):
    """`resnet_fpn_backbone` of this body; 5 leaves every layer trainable, which only matters in training."""
    return pyramid(_resnet_fpn_extractor(body, 5, returned, extra), channels, norm_layer)


def mobilenet_fpn(network, channels, returned=None):
    """`mobilenet_backbone` with fpn=True."""
    return pyramid(_mobilenet_extractor(network, True, 6, returned), channels)


def mobilenet_flat(network, channels):
    """`mobilenet_backbone` with fpn=False."""
    backbone = _mobilenet_extractor(network, False, 6)
    backbone[1] = nn.Conv2d(backbone[1].in_channels, channels, 1)
    backbone.out_channels = channels
    return backbone


def anchors(levels, sizes):
    """All sizes on every level, as the MobileNet builders have them."""
    return AnchorGenerator((sizes,) * levels, (RATIOS,) * levels)


def one_a_level(*sizes):
    """One size a level, as the ResNet builders have them."""
    return AnchorGenerator(tuple((size,) for size in sizes), (RATIOS,) * len(sizes))


def detector(backbone, classes=4, head=16, output_size=7, names=("0", "1", "2", "3"), pool=None, **kwargs):
    """FasterRCNN with a narrow TwoMLPHead, small pictures by default."""
    channels = backbone.out_channels
    kwargs.setdefault("box_head", TwoMLPHead(channels * output_size**2, head))
    kwargs.setdefault("min_size", 60)
    kwargs.setdefault("max_size", 90)
    return FasterRCNN(
        backbone,
        num_classes=None,
        box_roi_pool=MultiScaleRoIAlign(list(names), output_size, 2, **(pool or {})),
        box_predictor=FastRCNNPredictor(head, classes),
        **kwargs,
    )


BASIC, BOTTLENECK = resnet.BasicBlock, resnet.Bottleneck
# The boxes of small pictures fall on every level, as at 224 those of large ones do.
ALL_LEVELS = dict(canonical_scale=56)
# Small files where the numbers are not the point.
FEW = dict(rpn_pre_nms_top_n_test=150, rpn_post_nms_top_n_test=200)


def mobilenet_320():
    backbone = mobilenet_fpn(mobilenet_v3_large(width_mult=0.1, norm_layer=norm(1e-5)), 16)
    return detector(
        backbone,
        rpn_anchor_generator=anchors(3, (32, 64, 128, 256, 512)),
        rpn_pre_nms_top_n_test=150,
        rpn_post_nms_top_n_test=150,
        rpn_score_thresh=0.05,
        min_size=90,
        max_size=128,
    )


def mobilenet_large():
    backbone = mobilenet_fpn(mobilenet_v3_large(width_mult=0.1), 16, [2, 3, 4])
    generator = anchors(4, (32, 64, 128, 256, 512))
    return detector(backbone, classes=3, rpn_anchor_generator=generator, rpn_score_thresh=0.05)


def mobilenet_small():
    backbone = mobilenet_fpn(mobilenet_v3_small(width_mult=0.1, norm_layer=FrozenBatchNorm2d), 16)
    return detector(backbone, rpn_anchor_generator=anchors(3, (16, 32, 64)))


def mobilenet_v2_narrow(width, last, **kwargs):
    """MobileNetV2 with fewer channels at the end than its 1280, which no width multiplier below 1 changes."""
    network = mobilenet_v2(width_mult=width, **kwargs)
    before = network.features[-1][0].in_channels
    network.features[-1] = Conv2dNormActivation(before, last, 1, activation_layer=nn.ReLU6, **kwargs)
    return network


def mobilenet_v2_fpn():
    backbone = mobilenet_fpn(mobilenet_v2_narrow(0.1, 48), 16)
    return detector(backbone, rpn_anchor_generator=anchors(3, (16, 32, 64)))


def mobilenet_v2_stages(returned):
    backbone = mobilenet_fpn(mobilenet_v2_narrow(0.1, 48, norm_layer=norm(1e-3)), 12, returned)
    return detector(
        backbone,
        classes=3,
        rpn_anchor_generator=one_a_level(*(8 * 2**i for i in range(len(returned) + 1))),
        pool=ALL_LEVELS,
        **FEW,
    )


def flat(network, channels=12):
    generator = anchors(1, (16, 32, 64, 96, 128))
    return detector(mobilenet_flat(network, channels), names=("0",), rpn_anchor_generator=generator)


def tutorial(backbone, channels, classes=4):
    """The fine-tuning tutorial's detector: it says how many channels its plain body has."""
    backbone.out_channels = channels
    generator = anchors(1, (32, 64, 128, 256, 512))
    return detector(backbone, classes, names=("0",), rpn_anchor_generator=generator)


def plain_resnet():
    return narrow_resnet(BASIC, (2, 2, 2, 2), 2, 1e-5)


def resnet_v2(eps=(1e-5, 1e-5, 1e-5), **kwargs):
    """`fasterrcnn_resnet50_fpn_v2`, with epsilons of body, pyramid and heads."""
    body = narrow_resnet(BOTTLENECK, (3, 4, 6, 3), 2, eps[0])
    backbone = resnet_fpn(body, 8, norm_layer=norm(eps[1]))
    return detector(
        backbone,
        rpn_anchor_generator=one_a_level(8, 16, 32, 64, 128),
        rpn_head=RPNHead(8, 3, conv_depth=2),
        box_head=FastRCNNConvFCHead((8, 7, 7), [8] * 4, [16], norm_layer=norm(eps[2])),
        pool=ALL_LEVELS,
        **kwargs,
    )


def grouped(layers, base, groups, width, channels=12, returned=None, extra=None, block=BOTTLENECK, **kwargs):
    """A ResNet, ResNeXt or wide ResNet with a pyramid."""
    body = narrow_resnet(block, layers, base, kwargs.pop("eps", 1e-5), groups=groups, width_per_group=width)
    backbone = resnet_fpn(body, channels, returned, extra)
    levels = len(backbone.fpn.inner_blocks) + (2 if extra else 1)
    names = kwargs.pop("names", ("0", "1", "2", "3"))
    return detector(
        backbone,
        names=names,
        rpn_anchor_generator=one_a_level(*(8 * 2**i for i in range(levels))),
        pool=ALL_LEVELS,
        **FEW,
        **kwargs,
    )


def various():
    """Other anchors on every level, each level with its own ratios; everything else is varied by picture."""
    backbone = resnet_fpn(narrow_resnet(BASIC, (2, 2, 2, 2), 3, 1e-5), 12)
    sizes = ((6, 13), (19.5, 27), (40, 44), (75, 90), (128, 31))
    ratios = ((0.5, 2.0), (0.4, 1.0), (1.0, 3.0), (0.33, 1.3), (0.75, 1.5))
    return detector(backbone, rpn_anchor_generator=AnchorGenerator(sizes, ratios), pool=ALL_LEVELS, **FEW)


def first_stage(model):
    """Other numbers of the transform and the first stage, and another score threshold."""
    model.transform.min_size, model.transform.max_size = (48, 70), 100
    model.transform.image_mean, model.transform.image_std = [0.5, 0.25, 0.125], [0.25, 0.5, 0.3]
    model.rpn._pre_nms_top_n["testing"], model.rpn._post_nms_top_n["testing"] = 60, 90
    model.rpn.nms_thresh, model.rpn.score_thresh, model.rpn.min_size = 0.55, 0.3, 6.0
    model.rpn.box_coder.weights = (1.5, 1.25, 0.75, 2.0)
    model.roi_heads.score_thresh = 0.1


def second_stage(model):
    """Other numbers of the second stage."""
    roi = model.roi_heads
    roi.nms_thresh, roi.detections_per_img, roi.box_coder.weights = 0.2, 15, (5.0, 8.0, 2.5, 4.0)


def subset(model):
    """RoI features of the two finest levels alone, which also get the large boxes."""
    model.roi_heads.box_roi_pool = MultiScaleRoIAlign(["0", "1"], 7, 3, canonical_scale=8, canonical_level=3)


def divisor(value):
    return lambda model: setattr(model.transform, "size_divisible", value)


ALL = ("transformed", "body", "level", "rpn", "proposals", "roi", "head")
LATER = ALL[1:]  # for bodies that another network shows: what the body makes of the picture is left out of the file
UPRIGHT = {"upright": dict(hw=(71, 53))}  # canvas 96x64
SMALL = {"stages": dict(hw=(53, 83), keep=ALL)} | UPRIGHT  # canvas 64x96
SHORT = {"stages": dict(hw=(53, 83), keep=LATER)} | UPRIGHT
INNER = ("body.5.block.2", "body.5.block.2.scale_activation", "body.7.block.0", "body.14.block.2")

NETS = {
    "mobilenet-v3-large-320": (
        mobilenet_320,
        {"stages": dict(hw=(70, 101), keep=ALL, inner=INNER), "upright": dict(hw=(83, 60))},  # 96x128 and 128x96
        "fasterrcnn_mobilenet_v3_large_320_fpn",
    ),
    "mobilenet-v3-large": (mobilenet_large, SMALL, "fasterrcnn_mobilenet_v3_large_fpn, returned_layers=[2, 3, 4]"),
    "mobilenet-v3-small": (mobilenet_small, SMALL, "mobilenet_backbone('mobilenet_v3_small', fpn=True)"),
    "mobilenet-v2": (mobilenet_v2_fpn, SMALL, "mobilenet_backbone('mobilenet_v2', fpn=True)"),
    "mobilenet-v2-2345": (
        lambda: mobilenet_v2_stages([2, 3, 4, 5]),
        SMALL,
        "mobilenet_backbone('mobilenet_v2', fpn=True, returned_layers=[2, 3, 4, 5])",
    ),
    "mobilenet-v2-13": (
        lambda: mobilenet_v2_stages([1, 3]),
        SMALL,
        "mobilenet_backbone('mobilenet_v2', fpn=True, returned_layers=[1, 3])",
    ),
    "mobilenet-v2-flat": (
        lambda: flat(mobilenet_v2_narrow(0.1, 48)),
        SMALL,
        "mobilenet_backbone('mobilenet_v2', fpn=False)",
    ),
    "mobilenet-v3-small-flat": (
        lambda: flat(mobilenet_v3_small(width_mult=0.1)),
        SMALL,
        "mobilenet_backbone('mobilenet_v3_small', fpn=False)",
    ),
    "mobilenet-v3-large-flat": (
        lambda: flat(mobilenet_v3_large(width_mult=0.1, norm_layer=FrozenBatchNorm2d)),
        SMALL,
        "mobilenet_backbone('mobilenet_v3_large', fpn=False)",
    ),
    "resnet50-v2": (lambda: resnet_v2(**FEW), SMALL, "fasterrcnn_resnet50_fpn_v2"),
    "resnet50-v2-eps": (
        lambda: resnet_v2((1e-3, 1e-4, 1e-2), **FEW),
        SHORT,
        "fasterrcnn_resnet50_fpn_v2, three epsilons",
    ),
    "resnet101": (lambda: grouped((3, 4, 23, 3), 2, 1, 64), SMALL, "resnet_fpn_backbone('resnet101')"),
    "resnext50": (lambda: grouped((3, 4, 6, 3), 2, 8, 32), SMALL, "resnet_fpn_backbone('resnext50_32x4d'), 8 groups"),
    "resnext-234": (
        lambda: grouped((2, 2, 2, 2), 2, 4, 32, returned=[2, 3, 4], eps=1e-3),
        SMALL,
        "resnet_fpn_backbone('resnext50_32x4d', returned_layers=[2, 3, 4]), 4 groups",
    ),
    "wide-resnet50": (lambda: grouped((3, 4, 6, 3), 2, 1, 128), SMALL, "resnet_fpn_backbone('wide_resnet50_2')"),
    "resnet-p6p7-from-p4": (
        lambda: grouped(
            (2, 2, 2, 2), 3, 1, 64, returned=[1, 2, 3], extra=LastLevelP6P7(12, 12), block=BASIC, names=("0", "1", "2")
        ),
        SHORT,
        "resnet_fpn_backbone('resnet18', returned_layers=[1, 2, 3], extra_blocks=LastLevelP6P7(256, 256))",
    ),
    "resnet-p6p7-from-c4": (
        lambda: grouped(
            (2, 2, 2, 2), 2, 1, 128, returned=[1, 2, 3], extra=LastLevelP6P7(32, 12), names=("0", "1", "2")
        ),
        SHORT,
        "resnet_fpn_backbone('wide_resnet50_2', returned_layers=[1, 2, 3], extra_blocks=LastLevelP6P7(1024, 256))",
    ),
    "resnet-3": (
        lambda: grouped((2, 2, 2, 2), 4, 1, 64, returned=[3], block=BASIC),
        SHORT,
        "resnet_fpn_backbone('resnet18', returned_layers=[3])",
    ),
    "tutorial-mobilenet-v2": (
        lambda: tutorial(mobilenet_v2_narrow(0.1, 24).features, 24, classes=2),
        SMALL,
        "tutorial: FasterRCNN(mobilenet_v2().features)",
    ),
    "tutorial-sequential": (
        lambda: tutorial(nn.Sequential(*list(plain_resnet().children())[:-2]), 16),
        SMALL,
        "tutorial: FasterRCNN(nn.Sequential(*list(resnet18().children())[:-2]))",
    ),
    "tutorial-getter": (
        lambda: tutorial(IntermediateLayerGetter(plain_resnet(), {"layer4": "0"}), 16),
        SHORT,
        "tutorial: FasterRCNN(IntermediateLayerGetter(resnet18(), {'layer4': '0'}))",
    ),
    "tutorial-extractor": (
        lambda: tutorial(create_feature_extractor(plain_resnet(), {"layer4": "0"}), 16),
        SHORT,
        "tutorial: FasterRCNN(create_feature_extractor(resnet18(), {'layer4': '0'}))",
    ),
    "settings": (
        various,
        {
            "stages": dict(hw=(53, 83), keep=LATER),
            "first": dict(hw=(45, 72), keep=("proposals", "roi", "head"), change=first_stage),
            "second": dict(hw=(71, 53), change=second_stage),
            "subset": dict(hw=(71, 53), keep=("level", "proposals", "roi", "head"), change=subset),
            "divisor64": dict(hw=(101, 75), keep=(), change=divisor(64)),
            "divisor8": dict(hw=(50, 71), keep=("body", "level"), change=divisor(8)),
            "divisor1": dict(hw=(51, 61), keep=("body", "level", "proposals"), change=divisor(1)),
        },
        "fasterrcnn_resnet50_fpn, other anchors on every level",
    ),
    "settings-roi5": (
        lambda: grouped(
            (2, 2, 2, 2),
            3,
            1,
            64,
            block=BASIC,
            output_size=5,
            box_score_thresh=0.02,
            bbox_reg_weights=(4.0, 6.0, 3.0, 2.0),
            box_detections_per_img=12,
        ),
        SHORT,
        "resnet_fpn_backbone('resnet18'), RoI features of 5x5",
    ),
}


def values(output):
    return list(output.values()) if isinstance(output, dict) else [output]


def body_of(model):
    backbone = model.backbone
    if hasattr(backbone, "body"):
        return backbone.body
    # mobilenet_backbone without a pyramid: the network and a convolution behind it
    return backbone[0] if isinstance(backbone, nn.Sequential) and len(backbone) == 2 else backbone


def detect(model, image_u8, inner=(), dtype=torch.float32):
    """One picture through torchvision's model: the result and what every stage saw."""
    model.to(dtype)
    model.roi_heads.box_roi_pool.scales = None  # torchvision keeps the first picture's; each picture here gets its own
    seen, hooks = {}, []

    def keep(module, name, part=lambda o: o):
        hooks.append(module.register_forward_hook(lambda _m, _i, o: seen.__setitem__(name, part(o))))

    keep(model.transform, "transform", lambda o: o[0])
    keep(body_of(model), "body", values)
    keep(model.backbone, "level", values)
    keep(model.rpn.head, "rpn")
    keep(model.rpn, "proposals", lambda o: o[0][0])
    keep(model.roi_heads.box_roi_pool, "roi")
    keep(model.roi_heads.box_head, "head")
    keep(model.roi_heads.box_predictor, "predictor")
    for name in inner:
        keep(model.get_submodule(f"backbone.{name}"), f"inner.backbone.{name}")
    result = model([to_input(image_u8).to(dtype)])[0]
    for hook in hooks:
        hook.remove()
    model.float()
    return result, seen


class Given(nn.Module):
    """A head that has its output already."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, _):
        return self.output


def steady(model, image_u8, result, seen):
    """Whether proposals and result come out the same in float64, from what the stages before them gave in float32."""
    head, images = model.rpn.head, seen["transform"]
    wide = [[tensor.double() for tensor in level] for level in seen["rpn"]]
    model.double()
    model.rpn.head = Given(wide)
    images = ImageList(images.tensors.double(), images.image_sizes)
    features = {str(i): level.double() for i, level in enumerate(seen["level"])}
    proposals = model.rpn(images, features)[0][0]
    model.rpn.head = head
    logits, deltas = (tensor.double() for tensor in seen["predictor"])
    parts = model.roi_heads.postprocess_detections(logits, deltas, [seen["proposals"].double()], images.image_sizes)
    found = [dict(zip(("boxes", "scores", "labels"), (part[0] for part in parts)))]
    found = model.transform.postprocess(found, images.image_sizes, [image_u8.shape[:2]])[0]
    model.float()
    same = len(proposals) == len(seen["proposals"]) and torch.allclose(
        proposals, seen["proposals"].double(), rtol=0, atol=1e-2
    )
    return same and disagreement(result, found) == 0


def tied(seen):
    """Whether two anchors of a level are equally likely: torchvision's sort puts them in any order."""
    return any(len(level.unique()) < level.numel() for level in seen["rpn"][0])


def stages(seen, keep, first):
    out = {"transformed_size_hw": torch.tensor(seen["transform"].image_sizes[0])}
    if "transformed" in keep:
        out["transformed"] = seen["transform"].tensors[0]
    for name in ("body", "level"):
        # the RPN's head and RoIAlign need the levels as their input
        if name in keep or (name == "level" and ("rpn" in keep or "roi" in keep)):
            out.update({f"{name}.{i}": tensor[0] for i, tensor in enumerate(seen[name])})
    if "rpn" in keep:
        for name, tensors in zip(("objectness", "rpn_deltas"), seen["rpn"]):
            out.update({f"{name}.{i}": tensor[0] for i, tensor in enumerate(tensors)})
    if "proposals" in keep:
        out["proposals"] = seen["proposals"]
    if "roi" in keep:
        n = min(first, len(seen["roi"]))
        out[f"roi_features_first{n}"] = seen["roi"][:n]
    if "head" in keep:
        out["box_head"] = seen["head"]
        out["class_logits"], out["box_deltas"] = seen["predictor"]
    out.update({name: tensor[0] for name, tensor in seen.items() if name.startswith("inner.")})
    return out


def notes(model, kind):
    return {"kind": kind, "settings": json.dumps(settings.read(model)), "torchvision": torchvision.__version__}


@torch.no_grad()
def make(folder, name, build, pictures, kind, number):
    torch.manual_seed(number)
    model = build()
    make_plausible(model)
    state = {k: v.half() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    checkpoint = folder / f"{name}.safetensors"
    classes = len(model.roi_heads.box_predictor.cls_score.bias)
    save_file(state, checkpoint, {"classes": ",".join(LABELS[:classes]), **notes(model, kind)})
    settings.write(model, folder / f"{name}.settings.toml")
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for title, spec in pictures.items():
        variant = copy.deepcopy(model).eval()  # a copy of a feature extractor would be in training
        if "change" in spec:
            spec["change"](variant)
            settings.write(variant, folder / f"{name}-{title}.settings.toml")
        keep, inner = spec.get("keep", ()), spec.get("inner", ())
        refused = collections.Counter()
        for seed in range(200):  # the first picture with something to see whose result does not hang on the last bits
            image = picture(spec["hw"], 7919 * number + seed)
            result, seen = detect(variant, image, inner)
            exact, exactly = detect(variant, image, inner, torch.float64)
            noise = max(float((a - b).norm() / b.norm()) for a, b in zip(seen["level"], exactly["level"]))
            reasons = {
                "noise": noise > 4e-6,
                "few": len(result["boxes"]) < spec.get("least", 5),
                "tied": "rpn" in keep and tied(seen),
                "stage": not steady(variant, image, result, seen),
                "whole": disagreement(result, exact) > 0,
            }
            if not any(reasons.values()):
                break
            refused.update(reason for reason, found in reasons.items() if found)
        else:
            raise SystemExit(f"{name}-{title}: no picture found: {dict(refused)}")
        scores = seen["predictor"][0].softmax(-1)[:, 1:]
        candidates = int((scores > variant.roi_heads.score_thresh).sum())
        path = folder / f"{name}-{title}.safetensors"
        save_file(
            {"image_u8": torch.from_numpy(image), **stages(seen, keep, 4), **result},
            path,
            {
                "weights": checkpoint.name,
                "weights_sha256": digest,
                "candidates": str(candidates),
                "layout": "C,H,W",
                **notes(variant, kind),
            },
        )
        report = dict(
            seed=seed,
            refused=dict(refused),
            noise=f"{noise:.1e}",
            canvas=list(seen["transform"].tensors.shape[2:]),
            levels=[list(level.shape[1:]) for level in seen["level"]],
            anchors=[level.numel() for level in seen["rpn"][0]],
            proposals=len(seen["proposals"]),
            candidates=candidates,
            detections=len(result["boxes"]),
            labels=result["labels"].bincount().tolist(),
            kilobytes=path.stat().st_size // 1000,
        )
        print(f"{path.stem:24}", json.dumps(report), checkpoint.stat().st_size // 1000, flush=True)


def main():
    folder = HERE / "networks"
    folder.mkdir(exist_ok=True)
    wanted = sys.argv[1:]
    for number, (name, net) in enumerate(NETS.items()):
        if not wanted or name in wanted:
            make(folder, name, *net, number)


if __name__ == "__main__":
    main()
