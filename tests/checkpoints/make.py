"""Writes the checkpoint fixtures beside this file, with PyTorch's own writer.

    python make.py

Needs torch and torchvision (2.8.0 and 0.23.0 wrote what is committed). One seed, so a second run gives the same
weights; archives may differ in bytes where PyTorch's writer does. The network is torchvision's Faster R-CNN with a
ResNet a few channels wide, every tensor random, variances included. `expected.json` holds, for every tensor, the sum
of its values and of the values times their place, in f64, which catch a wrong order as well as a wrong number.
`wrapped.py` adds files with the same weights among everything else that training scripts save.
"""

import collections
import json
import pathlib

import torch
import wrapped
from torchvision.models import resnet
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.misc import FrozenBatchNorm2d

HERE = pathlib.Path(__file__).parent
CLASSES = 4


class Narrow(resnet.ResNet):
    """torchvision's ResNet with other widths; `_make_layer` is its own."""

    def __init__(self, block, layers, stem, widths, norm_layer, width_per_group=64):
        torch.nn.Module.__init__(self)
        self._norm_layer = norm_layer
        self.inplanes, self.dilation, self.groups, self.base_width = stem, 1, 1, width_per_group
        self.conv1 = torch.nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm_layer(stem)
        self.relu = torch.nn.ReLU(inplace=True)
        self.maxpool = torch.nn.MaxPool2d(3, stride=2, padding=1)
        for i, (width, count) in enumerate(zip(widths, layers)):
            setattr(self, f"layer{i + 1}", self._make_layer(block, width, count, stride=1 if i == 0 else 2))


def network(block, layers, norm_layer, classes=CLASSES, stem=4, widths=(4, 4, 6, 8), fpn=4, head=8):
    body = Narrow(block, layers, stem, widths, norm_layer)
    outputs = [width * block.expansion for width in widths]
    backbone = BackboneWithFPN(body, {f"layer{i}": str(i - 1) for i in range(1, 5)}, outputs, fpn)
    model = FasterRCNN(backbone, num_classes=classes)
    model.roi_heads.box_head.fc6 = torch.nn.Linear(fpn * 49, head)
    model.roi_heads.box_head.fc7 = torch.nn.Linear(head, head)
    model.roi_heads.box_predictor.cls_score = torch.nn.Linear(head, classes)
    model.roi_heads.box_predictor.bbox_pred = torch.nn.Linear(head, classes * 4)
    state = model.state_dict()
    with torch.no_grad():
        for name, value in state.items():
            if name.endswith("running_var"):
                value.copy_(torch.rand_like(value) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn_like(value) * 0.25)
    return model


def detector(*args, **kwargs):
    return network(*args, **kwargs).state_dict()


def old_names(state):
    """The names that torchvision had before 0.13."""
    renamed = collections.OrderedDict()
    for name, value in state.items():
        for module in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                name = name.replace(f"fpn.{module}.{level}.0.", f"fpn.{module}.{level}.")
        renamed[name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")] = value
    return renamed


def sums(state):
    def pair(value):
        flat = value.double().flatten()
        return [flat.sum().item(), (flat * torch.arange(1, flat.numel() + 1)).sum().item()]

    return {name: pair(value) for name, value in state.items() if value.is_floating_point()}


def strided(state):
    """The same values, none of them contiguous where it can be helped, half of them in one storage."""
    views = collections.OrderedDict()
    weights = [name for name in state if state[name].dim() >= 2]
    shared = torch.cat([state[name].flatten() for name in weights[::2]])
    offset = 0
    for name, value in state.items():
        if name in weights[::2]:
            views[name] = shared[offset : offset + value.numel()].view(value.shape)
            offset += value.numel()
        elif value.dim() == 4:
            views[name] = value.contiguous(memory_format=torch.channels_last)
        elif value.dim() == 2:
            views[name] = value.t().contiguous().t()
        elif value.is_floating_point():
            views[name] = torch.stack([value, -value], dim=1)[:, 0]
        else:
            views[name] = value
    return views


def main():
    torch.manual_seed(20251123)
    basic, bottleneck = resnet.BasicBlock, resnet.Bottleneck
    model = network(basic, [2, 2, 2, 2], FrozenBatchNorm2d)
    r18 = model.state_dict()
    # Trainable norms count their batches, which an import has to ignore.
    r50 = detector(bottleneck, [3, 4, 6, 3], torch.nn.BatchNorm2d, widths=(1, 1, 2, 2), fpn=2, head=4)
    coco = detector(basic, [2, 2, 2, 2], FrozenBatchNorm2d, classes=91, widths=(2, 2, 2, 2), fpn=2, head=4)
    legacy = {"_use_new_zipfile_serialization": False}

    torch.save(r18, HERE / "zip.pth")
    torch.save(r18, HERE / "legacy.pth", **legacy)
    torch.save(strided(r18), HERE / "zip-strided.pth")
    torch.save(strided(r18), HERE / "legacy-strided.pth", **legacy)
    torch.save({name: value.half() for name, value in r18.items()}, HERE / "zip-half.pth")
    torch.save({name: value.bfloat16() for name, value in r18.items()}, HERE / "zip-bfloat16.pth")
    torch.save({name: value.double() for name, value in r18.items()}, HERE / "legacy-double.pth", **legacy)
    wrapped = {"model": {f"module.{name}": value for name, value in r18.items()}, "epoch": 7, "lr": [0.1, None]}
    torch.save(wrapped, HERE / "zip-wrapped.pth")
    training = {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}, "state_dict": r18}
    torch.save(training, HERE / "legacy-wrapped.pth", **legacy)
    torch.save(collections.OrderedDict((n, torch.nn.Parameter(v)) for n, v in r18.items()), HERE / "zip-parameters.pth")
    for protocol in (1, 4):
        torch.save(r18, HERE / f"legacy-protocol{protocol}.pth", pickle_protocol=protocol, **legacy)
    torch.save(r50, HERE / "zip-resnet50.pth")
    torch.save(old_names(coco), HERE / "legacy-coco.pth", **legacy)
    wrapped.write(r18, model)

    expected = {
        "r18": sums(r18),
        "r18-half": sums({name: value.half() for name, value in r18.items()}),
        "r18-bfloat16": sums({name: value.bfloat16() for name, value in r18.items()}),
        "r50": sums(r50),
        "coco": sums(coco),
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")


if __name__ == "__main__":
    main()
