"""Writes pictures/: one small file of each kind that `frame` must read, and pictures.safetensors: what PIL sees in them,
upright and converted to RGB (rows, columns, 3).

Run with Pillow 12 or later. Grey of sixteen bits is the one exception: PIL clips it, so its expected values are
computed here.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

HERE = Path(__file__).parent
FOLDER = HERE / "pictures"


def scene(columns=48, rows=24):
    """Smooth enough that JPEG keeps it, and without any symmetry that would hide a wrong turn."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    red = 255 * x / (columns - 1)
    green = 255 * y / (rows - 1)
    blue = 128 + 100 * np.sin(x / 9 + y / 5)
    return np.stack([red, green, blue], axis=-1).round().astype(np.uint8)


def noisy(columns, rows):
    """Every coefficient is used."""
    return np.random.default_rng(1).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def main():
    FOLDER.mkdir(exist_ok=True)
    picture = Image.fromarray(scene())
    expected = {}

    def keep(name, pixels=None):
        if pixels is None:
            with Image.open(FOLDER / name) as image:
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        expected[name] = np.ascontiguousarray(pixels)

    def save(name, image, **options):
        image.save(FOLDER / name, **options)
        keep(name)

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"orientation_{orientation}.jpg", picture, quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("orientation_6.png", picture, exif=exif)
    save("subsampled.jpg", picture, quality=95, subsampling=2)
    save("progressive.jpg", picture, quality=95, subsampling=0, progressive=True)
    odd = Image.fromarray(scene(45, 23))
    save("subsampled_odd.jpg", odd, quality=90, subsampling=2)
    save("subsampled_wide.jpg", odd, quality=90, subsampling=1)
    save("progressive_odd.jpg", odd, quality=90, subsampling=2, progressive=True)
    save("optimized.jpg", Image.fromarray(noisy(61, 43)), quality=97, subsampling=2, optimize=True)
    save("narrow.jpg", Image.fromarray(scene(3, 37)), quality=90, subsampling=2)
    save("restarts.jpg", picture, quality=95, subsampling=0, restart_marker_blocks=2)
    save("grey.jpg", picture.convert("L"), quality=95)
    save("cmyk.jpg", picture.convert("CMYK"), quality=95)
    save("rgb.png", picture)
    save("grey.png", picture.convert("L"))
    save("one_bit.png", picture.convert("1"))
    save("palette.png", picture.quantize(32))
    transparent = picture.quantize(32)
    transparent.info["transparency"] = 3
    save("palette_transparent.png", transparent, transparency=3)
    alpha = np.dstack([scene(), np.tile(np.arange(48, dtype=np.uint8) * 5, (24, 1))])
    save("alpha.png", Image.fromarray(alpha))
    save("grey_alpha.png", Image.fromarray(np.ascontiguousarray(alpha[:, :, [0, 3]])))
    grey = (np.arange(24 * 48, dtype=np.uint32) * 56).reshape(24, 48).astype(np.uint16)
    Image.fromarray(grey).save(FOLDER / "grey_16.png")
    keep("grey_16.png", np.repeat(np.round(grey / 257.0).astype(np.uint8)[:, :, None], 3, axis=2))
    save_file(expected, HERE / "pictures.safetensors")


if __name__ == "__main__":
    main()
