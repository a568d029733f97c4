"""Writes transform.safetensors: pictures and what torchvision's GeneralizedRCNNTransform makes of them.

Run with torch 2.8 and torchvision 0.23; the random numbers are seeded, so the file comes out the same. For each case
"name": "name.image" (rows, columns, 3) u8, "name.rule" (min_size, max_size, divisor, mean ×3, std ×3) f32, "name.expected"
(rows, columns, 3) f32, the normalized and resized picture with channels last and without its padding, and "name.canvas"
the rows and columns with it.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.functional import to_tensor

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# Name: rows, columns, min_size, max_size, divisor. Rows and columns out are together more than 128, where PyTorch takes
# its separable path, except in the thumbnail.
CASES = {
    "up": (7, 41, 19, 1333, 32),
    "down": (40, 231, 19, 1333, 32),
    "wide": (5, 400, 9, 150, 32),
    "tall": (420, 6, 400, 141, 32),
    "same": (3, 130, 3, 1333, 1),
    "upright": (83, 19, 25, 109, 32),
    "column": (300, 1, 1, 1333, 8),
    "thumbnail": (11, 13, 20, 40, 32),
    "other_numbers": (9, 64, 16, 1333, 16),
}


def main():
    rng = np.random.default_rng(20251123)
    tensors = {}
    for name, (rows, columns, min_size, max_size, divisor) in CASES.items():
        mean, std = ([0.5, 0.25, 0.125], [1.0, 0.5, 0.3]) if name == "other_numbers" else (MEAN, STD)
        image = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        transform = GeneralizedRCNNTransform(min_size, max_size, mean, std, size_divisible=divisor).eval()
        with torch.inference_mode():
            images, _ = transform([to_tensor(image)])
        tensors[f"{name}.image"] = image
        tensors[f"{name}.rule"] = np.array([min_size, max_size, divisor, *mean, *std], dtype=np.float32)
        (height, width), canvas = images.image_sizes[0], images.tensors[0].permute(1, 2, 0).numpy()
        tensors[f"{name}.expected"] = np.ascontiguousarray(canvas[:height, :width])
        tensors[f"{name}.canvas"] = np.array(canvas.shape[:2], dtype=np.uint32)
    save_file(tensors, Path(__file__).with_name("transform.safetensors"))


if __name__ == "__main__":
    main()
