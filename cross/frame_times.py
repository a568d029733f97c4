"""Expected time of a frame on Arm boards, derived: no board was measured. Prints the tables of cross/README.md.

    frame_times.py                                   ResNet-50 FPN in several sizes
    frame_times.py NEON_1 NEON_2 DOTPROD_1 DOTPROD_2  any other network, from whole frames counted with count.c

The files of the second form are the counts of `lookout bench --frames 1` and `--frames 2` on one thread, with the kernels
neon (-cpu cortex-a72) and dotprod (-cpu cortex-a76). Their difference is one frame, from picture to boxes.


Multiply-adds come from `lookout bench --json` (ResNet-50 FPN, ten classes). Instructions a multiply-add come from every
layer of that network, run once on a canvas of 224x160 with 100 proposals under qemu with count.c: the kernel's tiles with
their epilogues, and the driver. Cycles of the inner loops come from llvm-mca 19 with LLVM's model of the core (of the
Neoverse N1 for the A76 and A78, whose vector pipes are alike); what is outside of them is charged the mean cycles an
instruction that it gives for the loops of RoIAlign, resampling and colour conversion.

Not counted: waiting for memory, threads waiting for each other, heat. All four cores are taken to work all the time.
"""

import sys

# Canvas -> GMAC without the box head, by the shorter side of a 4:3 picture; the box head's for one proposal.
SIZES = {320: 26.883, 480: 57.609, 800: 163.221}
BOX_HEAD = 0.013914

# Inner loop: instructions and multiply-adds of a turn; all instructions of the convolutions for a multiply-add.
# Tile: its function, its multiplication, and how often that comes in a turn. The disassembler of qemu 7.2 does not know
# sdot and gives its bytes.
NEON = {"turn": 59, "macs": 256, "all": 2110.4e6 / 8116.0e6, "tile": ("tile_2x8c16", "smull", 16)}
DOTPROD = {"turn": 84, "macs": 1024, "all": 765.4e6 / 8116.0e6, "tile": ("tile_4x16c4", ".byte", 64)}
# RoIAlign: 49 bins, 4 samples, 256 channels, 4 at a time, 29 instructions each, and a tenth for the corners.
ROI_ALIGN = 49 * 4 * 64 * 29 * 1.1

# Core, kernel, cycles of a turn of its loop, cycles an instruction elsewhere, GHz.
BOARDS = [
    ("4 × Cortex-A53, 1.4 GHz (Raspberry Pi 3B+)", NEON, 71.0, 2.0, 1.4),
    ("4 × Cortex-A72, 1.5 GHz (Raspberry Pi 4)", NEON, 32.1, 0.9, 1.5),
    ("4 × Cortex-A76, 2.4 GHz (Raspberry Pi 5)", DOTPROD, 34.1, 0.5, 2.4),
    ("4 × Cortex-A78 class, 2.0 GHz", DOTPROD, 34.1, 0.5, 2.0),
]


def seconds(gmac, proposals, kernel, turn, elsewhere, ghz, cores=4):
    """Of one frame, on all cores."""
    outside = kernel["all"] - kernel["turn"] / kernel["macs"]
    macs = gmac + BOX_HEAD * proposals
    cycles = macs * (turn / kernel["macs"] + outside * elsewhere) + ROI_ALIGN * proposals * elsewhere * 1e-9
    return cycles / (ghz * cores)


def counted(one, two, kernel):
    """Turns of the tile's loop in one frame, and all other instructions."""
    function, multiplication, in_a_turn = kernel["tile"]
    total = multiplications = 0
    for path, sign in ((one, -1), (two, 1)):
        with open(path) as lines:
            for line in lines:
                count, symbol, mnemonic = line.split()[:3]
                total += sign * int(count)
                if function in symbol and mnemonic == multiplication:
                    multiplications += sign * int(count)
    turns = multiplications / in_a_turn
    if turns <= 0:
        sys.exit(f"{two}: no {multiplication} of {function} beyond those of {one}: counts of another kernel?")
    return turns, total - turns * kernel["turn"]


def whole_frames(paths):
    """The table of one network whose frames were counted."""
    counts = {"neon": counted(*paths[:2], NEON), "dotprod": counted(*paths[2:], DOTPROD)}
    print("| board | kernel | instructions | a frame |\n|---|---|---:|---:|")
    for board, kernel, turn, elsewhere, ghz in BOARDS:
        name = "neon" if kernel is NEON else "dotprod"
        turns, others = counts[name]
        time = (turns * turn + others * elsewhere) / (ghz * 4e9)
        instructions = (turns * kernel["turn"] + others) / 1e6
        print(f"| {board} | {name} | {instructions:.0f} million | {1e3 * time:.0f} ms |")


def main():
    if len(sys.argv) == 5:
        return whole_frames(sys.argv[1:])
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    for proposals in (1000, 300):
        print(f"\n| {proposals} proposals | kernel | MAC/cycle | " + " | ".join(f"{size} px" for size in SIZES) + " |")
        print("|---|---|---:|" + "---:|" * len(SIZES))
        for board, kernel, turn, elsewhere, ghz in BOARDS:
            times = [seconds(gmac, proposals, kernel, turn, elsewhere, ghz) for gmac in SIZES.values()]
            outside = kernel["all"] - kernel["turn"] / kernel["macs"]
            rate = 1 / (turn / kernel["macs"] + outside * elsewhere)
            name = "neon" if kernel is NEON else "dotprod"
            print(f"| {board} | {name} | {rate:.1f} | " + " | ".join(f"{time:.2f} s" for time in times) + " |")


if __name__ == "__main__":
    main()
