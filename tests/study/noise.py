"""Writes pictures of noise, for calibration on what no camera sees: noise.py FOLDER COUNT. Standard library only."""

import pathlib
import random
import struct
import sys
import zlib

WIDTH, HEIGHT = 1242, 375


def png(rng):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + rng.randbytes(WIDTH * 3) for _ in range(HEIGHT))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
for index in range(count):
    (folder / f"{index:04}.png").write_bytes(png(random.Random(index)))
