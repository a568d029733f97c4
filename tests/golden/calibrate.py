"""Random weights at which a detector of torchvision's has something to decide, for networks.py.

In one pass over pictures, each batch norm gets the statistics of what reaches it, some channels with a variance near
epsilon, and each other layer gets a fixed spread. Rounding errors stay as small as in a trained network.
"""

import torch
from torch import nn
from torchvision.models import resnet
from torchvision.ops import FrozenBatchNorm2d

from make import output_of, picture, to_input

NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)

# Spread and mean of the outputs of layers without batch norm, by the end of their names; others have 1 and 0.5.
SCALES = {
    "rpn.head.cls_logits": (2.0, 0.0),
    "rpn.head.bbox_pred": (0.3, 0.0),
    "box_predictor.cls_score": (2.0, 0.0),
    "box_predictor.bbox_pred": (1.0, 0.0),
    ".fc2": (2.0, 0.0),  # of a squeeze-excitation, to reach both ends of its hardsigmoid
}


def calibrate_norm(module, x, share):
    """Statistics of what reaches a batch norm, varied; in a channel of six the variance is near epsilon."""
    mean = x.mean((0, 2, 3))
    # What hardly varies is not blown up, since its rounding errors would be, too.
    variance = torch.maximum(x.var((0, 2, 3), correction=0), mean.square() / 9).clamp_min(1e-6)
    factor = torch.empty_like(variance).uniform_(0.25, 4)
    gain = torch.empty_like(variance).uniform_(0.5, 1.5) * torch.where(torch.rand_like(variance) < 0.15, 3.0, 1.0)
    near = module.eps * torch.empty_like(variance).uniform_(0.5, 4)
    rare = torch.rand_like(variance) < 1 / 6
    rare[torch.randint(len(rare), ())] = True
    module.running_mean.copy_(mean + 0.1 * variance.sqrt() * torch.randn_like(mean))
    module.running_var.copy_(torch.where(rare, near, variance * factor))
    # Such a channel is as strong as others with the right epsilon, and far off with another.
    module.weight.copy_(share * torch.where(rare, gain * ((near + module.eps) / variance).sqrt(), gain))
    # Around zero, every ReLU would fold its input, and layer after layer would amplify the rounding errors.
    module.bias.normal_(0.8, 0.4)


def calibrate_layer(name, module, output):
    """Scales the weights to the layer's spread and draws its bias; the output with both."""
    spread, middle = next((scale for end, scale in SCALES.items() if name.endswith(end)), (1.0, 0.5))
    shape = (-1, 1, 1) if isinstance(module, nn.Conv2d) else (-1,)
    output = output - module.bias.view(shape)
    mean = output.mean([0, 2, 3][: output.dim() - 1], keepdim=True)
    factor = spread / torch.maximum((output - mean).std(), output.std() / 3).clamp_min(1e-9)
    module.weight.mul_(factor)
    module.bias.normal_(0, 0.1).add_(middle - mean.flatten() * factor)
    return output * factor + module.bias.view(shape)


def norms_before_sums(model):
    """The last batch norms of residual blocks."""
    for block in model.modules():
        if isinstance(block, (resnet.BasicBlock, resnet.Bottleneck)):
            yield getattr(block, "bn3", block.bn2)
        elif getattr(block, "use_res_connect", False):
            yield [module for module in block.modules() if isinstance(module, NORMS)][-1]


@torch.no_grad()
def make_plausible(model, pairs=200, size=(192, 256)):
    """Calibrates every layer in one pass, and the background's bias to so many (box, class) pairs a picture."""
    images = [to_input(picture((192, 256), 1000 + i)) for i in range(3)]
    sizes = model.transform.min_size, model.transform.max_size
    model.transform.min_size, model.transform.max_size = (size[0],), size[1]
    model.eval()
    hooks, done, last = [], set(), set(norms_before_sums(model))

    def first_time(name):  # a head sees several levels, the first decides
        return name not in done and (done.add(name) or True)

    for name, module in model.named_modules():
        if isinstance(module, NORMS):
            share = 0.4 if module in last else 1.0  # a block adds to what it gets, and does not drown it
            hook = lambda m, i, name=name, share=share: calibrate_norm(m, i[0], share) if first_time(name) else None
            hooks.append(module.register_forward_pre_hook(hook))
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            hook = lambda m, i, o, name=name: calibrate_layer(name, m, o) if first_time(name) else None
            hooks.append(module.register_forward_hook(hook))
    model(images)
    for hook in hooks:
        hook.remove()
    predictor = model.roi_heads.box_predictor
    logits = output_of(model, predictor, images, lambda o: o[0])
    lo, hi = -20.0, 40.0
    for _ in range(40):
        middle = (lo + hi) / 2
        shift = torch.zeros(logits[0].shape[1])
        shift[0] = middle
        scores = torch.cat([(l + shift).softmax(-1)[:, 1:] for l in logits])
        lo, hi = (middle, hi) if (scores > model.roi_heads.score_thresh).sum() > pairs * len(logits) else (lo, middle)
    predictor.cls_score.bias[0] += middle
    model.transform.min_size, model.transform.max_size = sizes
    model.roi_heads.box_roi_pool.scales = None
