"""Writes what training scripts save around a state dict: wrappers, prefixes, and objects of every kind beside it.

    python wrapped.py

Reads the weights from `zip.pth`, which `make.py` writes; needs torch, torchvision and numpy. All weights are views of
one storage, so that the files stay small. Their names say how they are stored: `zip-` or `legacy-`.
"""

import argparse
import collections
import copy
import dataclasses
import datetime
import enum
import functools
import io
import pathlib
import pickle
import types
import zipfile

import numpy
import torch

HERE = pathlib.Path(__file__).parent
LEGACY = {"_use_new_zipfile_serialization": False}


class Phase(enum.Enum):
    WARM = 1


@dataclasses.dataclass
class Run:
    name: str
    rate: float
    phase: Phase


class Config(dict):
    """As configuration libraries make them: a dict with attributes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.__dict__["flags"] = {"frozen": True}


class Slots:
    __slots__ = ("a", "b")

    def __getstate__(self):
        return None, {"a": self.a, "b": self.b}


class Ema:
    """As training libraries keep the averaged weights: inside an object."""

    def __init__(self, shadow):
        self.decay, self.shadow = 0.999, shadow


class Typed(torch.Tensor):
    """Saves itself as torch saves types without a storage class."""

    def __reduce_ex__(self, protocol):
        plain = self.as_subclass(torch.Tensor)
        storage = plain.untyped_storage()
        args = (storage, plain.storage_offset(), tuple(plain.size()), plain.stride(), False, collections.OrderedDict())
        return torch._utils._rebuild_tensor_v3, (*args, plain.dtype)


class Doubled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x * 2 + self.bias


def compact(state):
    """The same values as views of one storage; counters stay what they are."""
    flat = torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])
    views, offset = collections.OrderedDict(), 0
    for name, value in state.items():
        if value.is_floating_point():
            views[name] = flat[offset : offset + value.numel()].view(value.shape)
            offset += value.numel()
        else:
            views[name] = value
    return views


def prefixed(prefix, state):
    return collections.OrderedDict((prefix + name, value) for name, value in state.items())


def objects():
    """One of every kind that a checkpoint has beside its weights."""
    slots = Slots()
    slots.a, slots.b = [1], None
    loop = {"name": "itself"}
    loop["self"] = loop
    return {
        "args": argparse.Namespace(lr=0.02, milestones=[16, 22], out=pathlib.PurePosixPath("runs/1"), other=None),
        "config": Config(model=Config(depth=18, sizes=(32, 64)), classes=["a", "b"]),
        "counts": collections.Counter({1: 3, 2: 5, "car": 7}),
        "history": collections.defaultdict(list, {"loss": [0.5, 0.25, float("nan")]}),
        "matrix": numpy.arange(12, dtype=numpy.int64).reshape(3, 4),
        "best": numpy.float64(0.4),
        "dtype": numpy.dtype("float32"),
        "generator": numpy.random.default_rng(7).bit_generator.state,
        "time": datetime.datetime(2025, 11, 23, 12, tzinfo=datetime.timezone.utc),
        "elapsed": datetime.timedelta(seconds=90),
        "run": Run("first", 0.1, Phase.WARM),
        "slots": slots,
        "loop": loop,
        "collate": functools.partial(int, base=2),
        "sets": [{1, 2}, frozenset({"a"}), b"bytes", bytearray(b"more"), 1 + 2j, 10**40, -(10**40), ...],
        "text": "gr\u00fcn \u20ac\n\\u0041",
        "torch": [torch.float16, torch.device("cuda:0"), torch.strided, torch.Size([1, 2])],
        "rng": torch.get_rng_state()[:8].clone(),
        "scaler": {"scale": 65536.0, "growth_interval": 2000},
        "named": types.SimpleNamespace(x=1),
        "sparse": torch.eye(2).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.quint8),
        3: "three",
        (1, 2): "pair",
        None: None,
    }


def optimizer():
    """State of an optimizer and of a scheduler after one step."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    sgd = torch.optim.SGD([parameter], lr=0.02, momentum=0.9)
    parameter.grad = torch.ones(2)
    sgd.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(sgd, [16, 22])
    return {"optimizer": sgd.state_dict(), "lr_scheduler": scheduler.state_dict()}


def write(state, model):
    state = compact(state)
    save = lambda value, name, **options: torch.save(value, HERE / name, **options)

    save({"model": state, **optimizer(), "args": argparse.Namespace(lr=0.02), "epoch": 25}, "zip-script.pth")
    save({**objects(), "runs": [{}, ({"net": state}, None)]}, "zip-objects.pth")
    # With a name of 21 letters the archive's directory can be mistaken for a later one.
    save({**objects(), "ema": Ema(prefixed("module.", state))}, "zip-objects-protocol5.pth", pickle_protocol=5)
    # Python cannot write a storage's persistent id in protocol 0, nor read it.
    for protocol in (1, 3):
        everything = {**objects(), **optimizer(), "weights": {"best": state}}
        save(everything, f"legacy-objects-protocol{protocol}.pth", pickle_protocol=protocol, **LEGACY)
    save({"state_dict": prefixed("model._orig_mod.module.", state) | {"criterion.weight": torch.ones(3)}}, "zip-prefixes.pth")
    ema = collections.OrderedDict(state)
    ema["roi_heads.box_predictor.cls_score.bias"] = state["roi_heads.box_predictor.cls_score.bias"] * 1.01
    save({"model": state, "model_ema": prefixed("module.", ema)}, "zip-two.pth")
    save({"best": state, "last": {"net": prefixed("module.", state)}, "again": state}, "zip-same.pth")

    attributed = collections.OrderedDict()
    for index, (name, value) in enumerate(state.items()):
        match index % 4:
            case 0:
                attributed[name] = torch.nn.Parameter(value)
                attributed[name].tag = "a parameter with state"
            case 1:
                attributed[name] = value.view(value.shape)
                attributed[name].tag = ["a tensor with attributes"]
            case 2:
                # torch refuses to save one storage with and without a type.
                attributed[name] = value.clone().as_subclass(Typed)
            case _:
                attributed[name] = value
    save(attributed, "zip-subclasses.pth")

    module = copy.deepcopy(model)
    for path, submodule in module.named_modules():
        for name, parameter in submodule._parameters.items():
            if parameter is not None:
                submodule._parameters[name] = torch.nn.Parameter(state[f"{path}.{name}"], parameter.requires_grad)
        for name in submodule._buffers:
            submodule._buffers[name] = state[f"{path}.{name}"]
    # A buffer that `state_dict` leaves out.
    module.roi_heads.register_buffer("seen", torch.zeros(1), persistent=False)
    # The legacy form would also hold the source of every class.
    save({"net": torch.nn.DataParallel(module), "epoch": 1}, "zip-module.pth")

    save_foreign()


def save_foreign():
    """Files of other programs, with a few of their names."""
    array = numpy.zeros((2, 2), dtype=numpy.float32)
    names = ["backbone.bottom_up.stem.conv1.weight", "proposal_generator.rpn_head.conv.weight", "roi_heads.box_head.fc1.bias"]
    zoo = {"model": {name: array for name in names}, "__author__": "the zoo", "matching_heuristics": True}
    (HERE / "detectron2.pkl").write_bytes(pickle.dumps(zoo, protocol=2))
    names = ["backbone.layer1.0.conv1.weight", "neck.lateral_convs.0.conv.weight", "roi_head.bbox_head.fc_cls.bias"]
    meta = {"mmdet_version": "3.3.0", "epoch": 12}
    torch.save({"meta": meta, "state_dict": {name: torch.zeros(2) for name in names}}, HERE / "mmdetection.pth")

    # Without the debugging entries, which hold the path and the source of this file.
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(Doubled()), script)
    with zipfile.ZipFile(script) as source, zipfile.ZipFile(HERE / "torchscript.pt", "w") as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(name), source.read(name))


if __name__ == "__main__":
    import make

    torch.manual_seed(1)
    weights = torch.load(HERE / "zip.pth", weights_only=True)
    network = make.network(make.resnet.BasicBlock, [2, 2, 2, 2], make.FrozenBatchNorm2d)
    network.load_state_dict(weights)
    write(weights, network)
