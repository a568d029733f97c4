"""Golden files of the parity tests: narrow random detectors and what torchvision computes with them.

Out come, beside this script, a checkpoint `<net>.safetensors` for each of three networks (torchvision's own names, metadata as a
fine-tuning script would leave it) and for each picture a file `<net>-<picture>.safetensors` with what every stage made of it, batch
dimension dropped and channels first:

    image_u8 (H, W, 3)        transformed, transformed_size_hw (before padding)
    c2 .. c5                  outputs of layer1 .. layer4
    p2 .. p6                  outputs of the pyramid, p6 is torchvision's `pool`
    objectness.0 .. .4        (3, h, w)
    rpn_deltas.0 .. .4        (12, h, w), anchor-major: a0 dx dy dw dh, a1 ...
    proposals                 pixels of `transformed`, best first
    roi_features_firstN       RoIAlign of the first N proposals
    box_head, class_logits, box_deltas (class-major fours)
    boxes, scores, labels     the result, boxes in pixels of `image_u8`

A file may leave stages out to stay small; the picture and the result are always there. The metadata gives the checkpoint's name and
sha256, min and max size, the score threshold, and how many (box, class) pairs passed it (`candidates`).

Everything runs torchvision's own code; only widths are changed, so that the files are small enough to live in the repository, and
weights are scaled so that activations neither die nor explode and every selection (top-k, suppression, score, rank) has work to do.
Pictures are made here, of noise and shapes. Each result is also computed in float64; the script refuses a picture whose detections
depend on the difference, since such a file would test luck.

    python -m venv v && v/bin/pip install torch==2.8.0 torchvision==0.23.0 "numpy<2.3"
    v/bin/python tests/golden/make.py        # CPU builds of torch; rewrites the files in place

Other CPUs give other last bits, so regenerated files differ from the committed ones within rounding.
"""

import hashlib
import json
import pathlib

import numpy as np
import torch
import torchvision
from torchvision.models import resnet
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

HERE = pathlib.Path(__file__).parent

# Two precisions of storage, three depths, three epsilons: what an importer may meet.
NETS = {
    "r18": dict(block=resnet.BasicBlock, layers=(2, 2, 2, 2), base=4, fpn=16, head=32, classes=4, eps=1e-5, half=False, seed=18),
    "r34": dict(block=resnet.BasicBlock, layers=(3, 4, 6, 3), base=4, fpn=16, head=40, classes=3, eps=1e-3, half=True, seed=34),
    "r50": dict(block=resnet.Bottleneck, layers=(3, 4, 6, 3), base=4, fpn=24, head=48, classes=7, eps=1e-5, half=True, seed=50),
}

CHAIN = ("transformed", "c", "p", "rpn", "proposals", "roi", "head")
TAIL = ("rpn", "proposals", "roi", "head")

# (network, picture): height and width of the picture, the transform's sizes, the stages kept. `score` replaces torchvision's 0.05.
PICTURES = {
    ("r18", "upright"): dict(hw=(150, 100), sizes=(80, 1333), keep=CHAIN),  # downscaled to 120x80 on 128x96
    ("r18", "wide"): dict(hw=(60, 180), sizes=(800, 200), keep=CHAIN),  # the long side decides: 66x200 on 96x224, upscaled
    ("r18", "tiny"): dict(hw=(47, 61), sizes=(33, 1333), keep=CHAIN),  # 33 of 64 rows: torchvision infers P2's scale as 1/2
    ("r18", "stride59"): dict(hw=(402, 50), sizes=(50, 1333), keep=TAIL),  # 416 rows: P6 has 7, its stride is 59
    ("r18", "crowded"): dict(hw=(200, 260), sizes=(200, 1333), keep=("proposals", "head"), blocks=6),
    ("r18", "nothing"): dict(hw=(90, 120), sizes=(90, 1333), keep=(), score=0.99),
    ("r34", "odd"): dict(hw=(107, 91), sizes=(77, 1333), keep=("transformed", "c", "p")),
    ("r34", "large"): dict(hw=(301, 223), sizes=(255, 333), keep=()),
    ("r50", "street"): dict(hw=(131, 177), sizes=(96, 128), keep=CHAIN),  # 94x128 on 96x128
    ("r50", "upscaled"): dict(hw=(55, 49), sizes=(160, 1333), keep=("proposals",)),
    ("r50", "crowded"): dict(hw=(240, 320), sizes=(240, 1333), keep=(), blocks=8),
}


def narrow_resnet(block, layers, base, eps, **kwargs):
    """torchvision's ResNet with `base` channels after the stem instead of 64, every later width in proportion."""

    class Narrow(resnet.ResNet):
        @property
        def inplanes(self):
            return self._inplanes

        @inplanes.setter
        def inplanes(self, planes):
            # The first assignment is the constructor's 64; the later ones are ours, from _make_layer.
            self._inplanes = planes if "_inplanes" in self.__dict__ else base

        def _make_layer(self, block, planes, *args, **kwargs):
            return super()._make_layer(block, planes * base // 64, *args, **kwargs)

    return Narrow(block, list(layers), norm_layer=lambda c: torch.nn.BatchNorm2d(c, eps=eps), **kwargs)


def picture(hw, seed, blocks=3):
    """Smooth noise at several scales with a few rectangles and ellipses, (H, W, 3) u8."""
    rng = np.random.default_rng(seed)
    h, w = hw
    x = torch.zeros(1, 3, h, w)
    for step in (4, 16, 64):
        noise = torch.from_numpy(rng.random((1, 3, max(2, h // step), max(2, w // step)), dtype=np.float32))
        x += torch.nn.functional.interpolate(noise, size=(h, w), mode="bilinear", align_corners=False)
    x = (x[0] / 3).permute(1, 2, 0).numpy().copy()
    yy, xx = np.mgrid[0:h, 0:w]
    for _ in range(2 * blocks):
        cy, cx = rng.uniform(0, h), rng.uniform(0, w)  # centres near the border make boxes that must be clipped
        ry, rx = rng.uniform(4, h / 3), rng.uniform(4, w / 3)
        colour = rng.random(3, dtype=np.float32)
        if rng.random() < 0.5:
            inside = (abs(yy - cy) < ry) & (abs(xx - cx) < rx)
        else:
            inside = ((yy - cy) / ry) ** 2 + ((xx - cx) / rx) ** 2 < 1
        x[inside] = 0.3 * x[inside] + 0.7 * colour
    return (x * 255).round().astype(np.uint8)


def save_file(tensors, path, metadata):
    """A safetensors file with everything in a fixed order: the library's own writer shuffles the metadata from run to run."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.uint8: "U8", torch.int64: "I64"}
    header, blocks, offset = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors, key=lambda n: (-tensors[n].element_size(), n)):  # widest first keeps every tensor aligned
        tensor = tensors[name].contiguous()
        blocks.append(tensor.numpy().tobytes())
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blocks[-1])]}
        offset += len(blocks[-1])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blocks))


def to_input(image_u8):
    return torch.from_numpy(image_u8).permute(2, 0, 1).float() / 255


def build(net):
    body = narrow_resnet(net["block"], net["layers"], net["base"], net["eps"])
    # Frozen layers only matter in training, but the helper wants to be told: 5 leaves all trainable.
    backbone = _resnet_fpn_extractor(body, 5)  # with the standard 256 pyramid channels, replaced below
    widths = [net["base"] * 2**i * net["block"].expansion for i in range(4)]
    backbone.fpn = torchvision.ops.FeaturePyramidNetwork(widths, net["fpn"], torchvision.ops.feature_pyramid_network.LastLevelMaxPool())
    backbone.out_channels = net["fpn"]
    return FasterRCNN(
        backbone,
        box_head=TwoMLPHead(net["fpn"] * 49, net["head"]),
        box_predictor=FastRCNNPredictor(net["head"], net["classes"]),
        num_classes=None,
    )


def output_of(model, module, images, part=lambda o: o):
    got = []
    hook = module.register_forward_hook(lambda _m, _i, o: got.append(part(o)))
    for image in images:
        model([image])
    hook.remove()
    return got


def rescale(model, module, images, std, part=lambda o: o):
    """Scale a layer's weights so that its output, less the bias, has this standard deviation."""
    bias = module.bias.view(-1, 1, 1) if isinstance(module, torch.nn.Conv2d) else module.bias
    values = torch.cat([(o - bias).flatten() for o in output_of(model, module, images, part)])
    module.weight.mul_(std / values.std())


def make_plausible(model, net):
    """Batch-norm statistics measured on pictures, then layer after layer brought to a scale at which selections are contested."""
    images = [to_input(picture((192, 256), 1000 + i)) for i in range(3)]
    body = model.backbone.body
    norms = [m for m in body.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.2)
        norm.momentum = None  # the plain average over the pictures
        norm.reset_running_stats()
    body.train()
    for image in images:
        body(model.transform([image])[0].tensors)
    model.eval()
    for norm in norms:  # a trained network has channels of very different spread
        factor = torch.empty_like(norm.running_var).uniform_(0.25, 4)
        norm.running_var.mul_(factor)
    for i in range(4):
        rescale(model, model.backbone.fpn.inner_blocks[i][0], images, 1.0)
        rescale(model, model.backbone.fpn.layer_blocks[i][0], images, 1.0)
    head, boxes = model.rpn.head, model.roi_heads
    rescale(model, head.conv[0][0], images, 1.0)
    rescale(model, head.cls_logits, images, 2.0)
    rescale(model, head.bbox_pred, images, 0.3)
    rescale(model, boxes.box_head.fc6, images, 1.0)
    rescale(model, boxes.box_head.fc7, images, 1.0)
    rescale(model, boxes.box_predictor.cls_score, images, 2.0)
    rescale(model, boxes.box_predictor.bbox_pred, images, 1.0)
    for module in (head.conv[0][0], head.cls_logits, head.bbox_pred, boxes.box_head.fc6, boxes.box_head.fc7, boxes.box_predictor.bbox_pred):
        module.bias.normal_(0, 0.1)
    boxes.box_predictor.cls_score.bias.zero_()
    # About three hundred (box, class) pairs over the score threshold in a picture.
    logits = output_of(model, boxes.box_predictor, images, lambda o: o[0])
    lo, hi = -10.0, 20.0
    for _ in range(40):
        middle = (lo + hi) / 2
        shift = torch.zeros(net["classes"])
        shift[0] = middle
        pairs = sum(int(((l + shift).softmax(-1)[:, 1:] > 0.05).sum()) for l in logits) / len(logits)
        lo, hi = (middle, hi) if pairs > 300 else (lo, middle)
    boxes.box_predictor.cls_score.bias[0] = middle


def detect(model, image_u8, sizes, score, dtype=torch.float32):
    """One picture through torchvision's model: the result and what every stage saw."""
    model.to(dtype)
    model.transform.min_size, model.transform.max_size = (sizes[0],), sizes[1]
    model.roi_heads.score_thresh = score
    model.roi_heads.box_roi_pool.scales = None  # torchvision keeps the first picture's; each picture here gets its own
    seen, hooks = {}, []

    def keep(module, name, part=lambda o: o):
        hooks.append(module.register_forward_hook(lambda _m, _i, o: seen.__setitem__(name, part(o))))

    keep(model.transform, "transform", lambda o: o[0])
    choose = model.rpn.filter_proposals

    def choose_and_note(*args):
        boxes, scores = choose(*args)
        seen["ties"] = bool((scores[0][1:] == scores[0][:-1]).any())
        return boxes, scores

    model.rpn.filter_proposals = choose_and_note
    keep(model.backbone.body, "c", lambda o: list(o.values()))
    keep(model.backbone.fpn, "p", lambda o: list(o.values()))
    keep(model.rpn.head, "rpn")
    keep(model.rpn, "proposals", lambda o: o[0][0])
    keep(model.roi_heads.box_roi_pool, "roi")
    keep(model.roi_heads.box_head, "head")
    keep(model.roi_heads.box_predictor, "predictor")
    result = model([to_input(image_u8).to(dtype)])[0]
    model.rpn.filter_proposals = choose
    for hook in hooks:
        hook.remove()
    model.float()
    return result, seen


def disagreement(one, two):
    """Detections of either result that have no counterpart in the other, at a third of the tolerance the tests allow."""
    used, lost = set(), 0
    for box, score, label in zip(one["boxes"], one["scores"], one["labels"]):
        for j in range(len(two["boxes"])):
            if j in used or two["labels"][j] != label or abs(two["scores"][j] - score) > 3e-5:
                continue
            if (two["boxes"][j] - box).abs().max() <= 0.02:
                used.add(j)
                break
        else:
            lost += 1
    return lost + len(two["boxes"]) - len(used)


def stages(seen, keep, first):
    out = {}
    if "transformed" in keep:
        out["transformed"] = seen["transform"].tensors[0]
    out["transformed_size_hw"] = torch.tensor(seen["transform"].image_sizes[0])
    if "c" in keep:
        out.update({f"c{i + 2}": t[0] for i, t in enumerate(seen["c"])})
    if "p" in keep:
        out.update({f"p{i + 2}": t[0] for i, t in enumerate(seen["p"])})
    if "rpn" in keep:
        out.update({f"objectness.{i}": t[0] for i, t in enumerate(seen["rpn"][0])})
        out.update({f"rpn_deltas.{i}": t[0] for i, t in enumerate(seen["rpn"][1])})
        if "p" not in keep:  # RoIAlign and the RPN head need the pyramid as their input
            out.update({f"p{i + 2}": t[0] for i, t in enumerate(seen["p"])})
    if "proposals" in keep:
        out["proposals"] = seen["proposals"]
    if "roi" in keep:
        n = min(first, len(seen["roi"]))
        out[f"roi_features_first{n}"] = seen["roi"][:n]
    if "head" in keep:
        out["box_head"] = seen["head"]
    if "head" in keep or "proposals" in keep:
        out["class_logits"], out["box_deltas"] = seen["predictor"]
    return out


@torch.no_grad()
def make(name, net):
    torch.manual_seed(net["seed"])
    model = build(net)
    make_plausible(model, net)
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    if net["half"]:
        state = {k: v.half() for k, v in state.items()}
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    labels = ["__background__", "Person", "TwoWheeler", "Vehicle", "Animal", "Sign", "Light"][: net["classes"]]
    checkpoint = HERE / f"{name}.safetensors"
    save_file(
        state,
        checkpoint,
        {
            "architecture": f"fasterrcnn_resnet{name[1:]}_fpn",
            "classes": ",".join(labels),
            "min_size": "800",
            "max_size": "1333",
            "batch_norm_eps": repr(net["eps"]),
            "torchvision": torchvision.__version__,
        },
    )
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for (owner, title), spec in PICTURES.items():
        if owner != name:
            continue
        score = spec.get("score", 0.05)
        for seed in range(200):  # the first picture with something to see whose result does not hang on the last bits
            image = picture(spec["hw"], 7919 * net["seed"] + seed, spec.get("blocks", 3))
            result, seen = detect(model, image, spec["sizes"], score)
            exact, _ = detect(model, image, spec["sizes"], score, torch.float64)
            least = {"crowded": 100, "nothing": 0}.get(title, 10)
            # Equal scores come out of torchvision's sort in any order, so proposals compared one by one must have none.
            tied = seen["ties"] and "rpn" in spec["keep"]
            if len(result["boxes"]) >= least and not tied and disagreement(result, exact) == 0:
                break
        else:
            raise SystemExit(f"{name}-{title}: no picture found whose detections survive float64")
        scores = seen["predictor"][0].softmax(-1)[:, 1:]
        candidates = int((scores > score).sum())
        tensors = {"image_u8": torch.from_numpy(image), **stages(seen, spec["keep"], 12), **result}
        path = HERE / f"{name}-{title}.safetensors"
        save_file(
            tensors,
            path,
            {
                "weights": checkpoint.name,
                "weights_sha256": digest,
                "min_size": str(spec["sizes"][0]),
                "max_size": str(spec["sizes"][1]),
                "score": repr(score),
                "candidates": str(candidates),
                "layout": "C,H,W",
            },
        )
        h, w = spec["hw"]
        boxes = result["boxes"]
        clipped = int(((boxes[:, :2] == 0).any(1) | (boxes[:, 2] == w) | (boxes[:, 3] == h)).sum())
        report = dict(seed=seed, canvas=list(seen["transform"].tensors.shape[2:]), p6=list(seen["p"][4].shape[2:]),
                      proposals=len(seen["proposals"]), candidates=candidates, detections=len(boxes), clipped=clipped,
                      kilobytes=path.stat().st_size // 1000)
        print(f"{path.stem:14}", json.dumps(report), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, net in NETS.items():
        make(name, net)
        print(f"{name:14}", (HERE / f"{name}.safetensors").stat().st_size // 1000, "kB")
