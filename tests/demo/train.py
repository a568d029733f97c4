#!/usr/bin/env python3
"""Train the demo model from scratch on exported pattern scenes.

    lookout pattern --export DATA  --count 14000 --scenes 3500 --step 25 --seed 1000000 \
        --weather day,day,day,night,day,day,day,rain,day,day,day,fog
    lookout pattern --export CHECK --count 600 --scenes 300 --step 40 --seed 2000000
    OMP_NUM_THREADS=1 python tests/demo/train.py --data DATA --check CHECK --out OUT --steps N

Needs torch==2.8.0 and torchvision==0.23.0 from PyPI. One CPU core is enough; bfloat16 is used for the convolutions
where the CPU has it. The schedule follows the steps (--steps) or the clock (--minutes), whichever is given. Writes
OUT/model.safetensors: a torchvision state dict with its class names, sizes and anchors as metadata, which
`lookout import` reads. The network is torchvision's Faster R-CNN with a ResNet-18-FPN body a half as wide.
"""

import argparse

import os
import random
import time
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork, box_iou
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

LABELS = ["Person", "TwoWheeler", "Vehicle"]
WIDTH, FPN, HEAD = 32, 48, 256
ANCHORS = [16, 32, 64, 128, 256]
RATIOS = (0.5, 1.0, 2.0)
MIN_SIZE, MAX_SIZE = 360, 640
PROPOSALS = 150
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def amp():
    return torch.autocast("cpu", torch.bfloat16, enabled=torch.is_grad_enabled())


class Body(nn.Module):
    """ResNet-18 with `width` channels where torchvision's has 64, under the same names."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for stage in range(4):
            planes, stride = width << stage, 1 if stage == 0 else 2
            shortcut = None
            if stride != 1:
                shortcut = nn.Sequential(
                    nn.Conv2d(before, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
                )
            blocks = [BasicBlock(before, planes, stride, shortcut), BasicBlock(planes, planes)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            before = planes
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        out = OrderedDict()
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
            out[str(stage)] = x
        return out


class Backbone(nn.Module):
    def __init__(self, width, channels):
        super().__init__()
        self.body = Body(width)
        self.fpn = FeaturePyramidNetwork([width << i for i in range(4)], channels, LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, x):
        with amp():
            out = self.fpn(self.body(x))
        return OrderedDict((name, level.float()) for name, level in out.items())


class Head(RPNHead):
    def forward(self, x):
        with amp():
            scores, deltas = super().forward(x)
        return [s.float() for s in scores], [d.float() for d in deltas]


def ignored(boxes, regions):
    """Which boxes lie by half or more within a region where nothing is known."""
    if len(regions) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool)
    low = torch.max(boxes[:, None, :2], regions[None, :, :2])
    high = torch.min(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).prod(1)
    return (shared / area[:, None]).amax(1) > 0.5


class Proposals(RegionProposalNetwork):
    def assign_targets_to_anchors(self, anchors, targets):
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets):
            label[(label == 0) & ignored(anchor, target["regions"])] = -1.0
        return labels, matched


class Regions(RoIHeads):
    def select_training_samples(self, proposals, targets):
        self.regions = [target["regions"] for target in targets]
        return super().select_training_samples(proposals, targets)

    def assign_targets_to_proposals(self, proposals, boxes, labels):
        matched, classes = super().assign_targets_to_proposals(proposals, boxes, labels)
        for cls, proposal, region in zip(classes, proposals, self.regions):
            cls[(cls == 0) & ignored(proposal, region)] = -1
        return matched, classes


def build():
    backbone = Backbone(WIDTH, FPN)
    model = FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(tuple((s,) for s in ANCHORS), (RATIOS,) * len(ANCHORS)),
        rpn_head=Head(FPN, len(RATIOS)),
        box_head=TwoMLPHead(FPN * 49, HEAD),
        box_predictor=FastRCNNPredictor(HEAD, len(LABELS) + 1),
        min_size=MIN_SIZE,
        max_size=MAX_SIZE,
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=300,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=PROPOSALS,
        rpn_fg_iou_thresh=0.6,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=128,
    )
    # The same modules, with regions left out of the loss.
    model.rpn.__class__ = Proposals
    model.roi_heads.__class__ = Regions
    return model


def read_label(path):
    boxes, labels, regions = [], [], []
    for line in path.read_text().splitlines():
        part = line.split()
        box = [float(v) for v in part[4:8]]
        if part[0] in LABELS:
            boxes.append(box)
            labels.append(LABELS.index(part[0]) + 1)
        else:
            regions.append(box)
    return (
        torch.tensor(boxes).view(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(regions).view(-1, 4),
    )


class Data:
    def __init__(self, folder):
        self.images = sorted((Path(folder) / "image_2").glob("*.jpg"))
        self.labels = [Path(folder) / "label_2" / f"{path.stem}.txt" for path in self.images]
        self.known = {}

    def __len__(self):
        return len(self.images)

    def get(self, index):
        if index not in self.known:
            self.known[index] = read_label(self.labels[index])
        image = decode_jpeg(read_file(str(self.images[index])), ImageReadMode.RGB)
        return image, *self.known[index]


def sample(data, rng, size, scales):
    """One picture, cut, scaled, mirrored, its colours moved: C × H × W from 0 to 1, and its targets."""
    image, boxes, labels, regions = data.get(rng.randrange(len(data)))
    high, wide = size
    scale = rng.uniform(*scales)
    ch, cw = min(image.shape[1], round(high / scale)), min(image.shape[2], round(wide / scale))
    left, top = rng.randint(0, image.shape[2] - cw), rng.randint(0, image.shape[1] - ch)
    if len(boxes) and ch < image.shape[1]:
        # Around one of the objects, so that few pictures are empty.
        box = boxes[rng.randrange(len(boxes))]
        x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
        left = int(min(max(x - rng.uniform(0.15, 0.85) * cw, 0), image.shape[2] - cw))
        top = int(min(max(y - rng.uniform(0.25, 0.75) * ch, 0), image.shape[1] - ch))
    image = image[:, top : top + ch, left : left + cw].float().div_(255)
    if (ch, cw) != (high, wide):
        image = F.interpolate(image[None], (high, wide), mode="bilinear", align_corners=False)[0]
    ratio = torch.tensor([wide / cw, high / ch] * 2)
    offset, limit = torch.tensor([left, top] * 2), torch.tensor([wide, high] * 2)

    def move(these):
        moved = (these - offset) * ratio
        return moved, torch.minimum(moved.clamp(min=0), limit)

    whole, cut = move(boxes)
    area = lambda b: (b[:, 2:] - b[:, :2]).clamp(min=0).prod(1)
    share = area(cut) / area(whole).clamp(min=1e-3)
    tall = cut[:, 3] - cut[:, 1]
    good = (share >= 0.4) & (tall >= 12)
    regions = torch.cat([move(regions)[1], cut[~good]])
    regions = regions[area(regions) > 1]
    boxes, labels = cut[good], labels[good]
    if rng.random() < 0.5:
        image = image.flip(2)
        for these in (boxes, regions):
            these[:, [0, 2]] = wide - these[:, [2, 0]]
    if rng.random() < 0.7:
        gain = torch.tensor([rng.uniform(0.92, 1.08) for _ in range(3)]).view(3, 1, 1) * rng.uniform(0.75, 1.25)
        mean = image.mean()
        image = ((image - mean) * rng.uniform(0.75, 1.25) + mean).mul_(gain).clamp_(0, 1)
    if rng.random() < 0.15:
        image = (image + torch.randn_like(image) * rng.uniform(0.005, 0.03)).clamp_(0, 1)
    return (image - MEAN) / STD, {"boxes": boxes, "labels": labels, "regions": regions}


def measure(model, data, count):
    """Recall and precision of each class at IoU 0.5 and score 0.5, on the first `count` pictures."""
    model.eval()
    hit, truth, found = [0] * 4, [0] * 4, [0] * 4
    with torch.no_grad():
        for index in range(min(count, len(data))):
            image, boxes, labels, regions = data.get(index)
            out = model([image.float() / 255])[0]
            keep = out["scores"] >= 0.5
            seen, classes = out["boxes"][keep], out["labels"][keep]
            for c in range(1, 4):
                want, have = boxes[labels == c], seen[classes == c]
                truth[c] += len(want)
                free = torch.ones(len(want), dtype=torch.bool)
                iou = box_iou(have, want) if len(want) and len(have) else None
                in_region = ignored(have, regions)
                for i in range(len(have)):
                    best = -1
                    if iou is not None:
                        overlap = torch.where(free, iou[i], torch.tensor(-1.0))
                        value, at = overlap.max(0)
                        best = int(at) if value >= 0.5 else -1
                    if best >= 0:
                        free[best] = False
                        hit[c] += 1
                        found[c] += 1
                    elif not in_region[i]:
                        found[c] += 1
    model.train()
    return " ".join(
        f"{name} R {hit[i + 1] / max(truth[i + 1], 1):.3f} P {hit[i + 1] / max(found[i + 1], 1):.3f}"
        for i, name in enumerate(LABELS)
    )


def save(model, path):
    from safetensors.torch import save_file

    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    # Half precision: the product's file is half as large, its scores differ in the fourth digit.
    state = {k: v.half() if v.dim() > 1 else v for k, v in state.items()}
    metadata = {
        "classes": ",".join(["__background__", *LABELS]),
        "min_size": str(MIN_SIZE),
        "max_size": str(MAX_SIZE),
        "batch_norm_eps": "1e-5",
        "anchor_sizes": ",".join(str(size) for size in ANCHORS),
        "proposals": str(PROPOSALS),
        "proposals_per_level": "300",
    }
    temporary = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in state.items()}, str(temporary), metadata)
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--check", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--every", type=float, default=7.0, help="minutes between two checks")
    args = parser.parse_args()
    if (args.steps is None) == (args.minutes is None):
        parser.error("give --steps or --minutes")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    data, check = Data(args.data), Data(args.check)
    model = build().to(memory_format=torch.channels_last).train()
    mean = build().to(memory_format=torch.channels_last)
    mean.load_state_dict(model.state_dict())
    decay, plain = [], []
    for parameter in model.parameters():
        (decay if parameter.dim() > 1 else plain).append(parameter)
    groups = [{"params": decay, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.99))
    log = open(out / "log.txt", "a", buffering=1)

    def say(text):
        print(text, flush=True)
        log.write(text + "\n")

    sizes = sum(p.numel() for p in model.parameters())
    say(f"torch {torch.__version__} torchvision {torchvision.__version__} seed {args.seed} batch {args.batch}")
    say(f"{len(data)} pictures, {len(check)} to check, {sizes / 1e6:.2f} M parameters")
    begin = checked = time.monotonic()
    step, sums = 0, {}
    while True:
        now = time.monotonic()
        progress = step / args.steps if args.steps else (now - begin) / 60 / args.minutes
        if progress >= 1:
            break
        # Half pictures, scaled, for the first three fifths; whole ones after. Batch norm is frozen at the end.
        early = progress < 0.6
        size, scales = ((256, 448), (0.8, 1.35)) if early else ((360, 640), (1.0, 1.15))
        batch = args.batch if early else max(args.batch // 2, 2)
        warm = min(1.0, (step + 1) / 200)
        cosine = 0.5 * (1 + torch.cos(torch.tensor(progress * 3.14159265)).item())
        for group in optimizer.param_groups:
            group["lr"] = args.rate * warm * (0.01 + 0.99 * cosine)
        frozen = progress > 0.85
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(not frozen)
                module.momentum = 0.1 if early else 0.03
        pictures, targets = zip(*(sample(data, rng, size, scales) for _ in range(batch)))
        rows = (size[0] + 31) // 32 * 32
        images = torch.zeros(batch, 3, rows, size[1])
        for slot, picture in zip(images, pictures):
            slot[:, : size[0]] = picture
        images = images.contiguous(memory_format=torch.channels_last)
        listed = ImageList(images, [size] * batch)
        features = model.backbone(images)
        proposals, losses = model.rpn(listed, features, targets)
        _, more = model.roi_heads(features, proposals, listed.image_sizes, targets)
        losses.update(more)
        loss = sum(losses.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        with torch.no_grad():
            keep = min(0.998, (1 + step) / (10 + step))
            for a, b in zip(mean.state_dict().values(), model.state_dict().values()):
                if a.dtype.is_floating_point:
                    a.lerp_(b, 1 - keep)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        step += 1
        if step % 100 == 0:
            text = " ".join(f"{name.removeprefix('loss_')} {value / 100:.3f}" for name, value in sums.items())
            say(f"step {step} progress {progress:.3f} minutes {(time.monotonic() - begin) / 60:.1f} {text}")
            sums = {}
        if time.monotonic() - checked > args.every * 60:
            say(f"step {step} check {measure(mean, check, 60)}")
            save(mean, out / "model.safetensors")
            checked = time.monotonic()
    save(mean, out / "model.safetensors")
    say(f"steps {step} minutes {(time.monotonic() - begin) / 60:.1f}")
    say(f"final check {measure(mean, check, len(check))}")


if __name__ == "__main__":
    main()
