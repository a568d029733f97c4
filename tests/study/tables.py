"""Prints the tables of README.md from what run.sh left: tables.py [WORK]. Standard library only."""

import json
import pathlib
import sys

WORK = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/study")
FIGURES = ["paper.accuracy", "paper.precision", "paper.mean_iou", "coco.ap"]
RECIPES = {
    "paper": "paper’s recipe, 64",
    "ours-percentile": "percentile, biases corrected, 64",
    "ours-l2": "l2, biases corrected, 64",
    "ours-mse": "mse, biases corrected, 64",
    "ours": "mse, biases corrected, 192",
    "equalized-l2": "l2, equalized",
    "equalized-mse": "mse, equalized",
    "wide-15": "mse, `--wide 15%`",
    "default-15": "the default: mse, equalized, `--wide 15%`",
    "default-30": "the default with `--wide 30%`",
}
CHOICE = {
    name: label
    for count in (8, 16, 32, 64)
    for name, label in [(f"random-{count}-draw-{draw}", f"{count}, draw {draw + 1}") for draw in range(3)]
    + [(f"chosen-{count}", f"{count}, chosen")]
} | {"chosen-192": "192"}
STREET = {
    "street-l2-false-0": "l2",
    "street-mse-false-0": "mse",
    "street-mse-true-0": "mse, equalized",
    "street-mse-true-15": "the default: mse, equalized, `--wide 15%`",
    "street-mse-true-30": "the default with `--wide 30%`",
}
OBSERVERS = {f"observer-{name}": name for name in "min-max moving-average percentile entropy l2 mse".split()}
COUNTS = {f"count-{count}-draw-{draw}": f"{count}, draw {draw + 1}" for count in (1, 4, 16, 64) for draw in range(3)}
COUNTS |= {"count-192": "192", "noise": "16 pictures of noise"}
HELD_OUT = {"paper": RECIPES["paper"], "observer-l2": "l2, biases as they are, 64"}
HELD_OUT |= {name: label for name, label in RECIPES.items() if name not in ("paper", "ours")}


def points(share):
    return f"{100 * share:+.2f}".replace("-", "−")


def found_again(pair):
    shares = [pair[kind]["matched"] / (pair[kind]["matched"] + pair[kind]["vanished"]) for kind in ("strict", "tolerant")]
    return " / ".join(f"{100 * share:.1f}" for share in shares)


def report(name):
    report = json.loads((WORK / name / "report.json").read_text())
    reference = report["models"][0]
    of_fp32 = {pair["other"]: pair for pair in report["pairs"] if pair["reference"] == reference["name"]}
    return reference["figures"], of_fp32


def differences(name, rows):
    fp32, pairs = report(name)
    print("| | accuracy | precision | mean IoU | mAP | matched, % |\n|---|---:|---:|---:|---:|---:|")
    print("| fp32 |", " | ".join(f"{100 * fp32[figure]['value']:.2f}" for figure in FIGURES), "| |")
    for model, label in rows.items():
        pair = pairs[model]
        cells = [pair["differences"][figure] for figure in FIGURES]
        cells = [f"{points(cell['value'])} ({points(cell['low'])} to {points(cell['high'])})" for cell in cells]
        print(f"| {label} |", " | ".join(cells), f"| {found_again(pair)} |")
    print()


def agreement(name, rows):
    pairs = report(name)[1]
    print("| | matched | shifted | vanished | appeared | matched, % |\n|---|---:|---:|---:|---:|---:|")
    for model, label in rows.items():
        counts = (str(pairs[model]["strict"][kind]) for kind in ("matched", "shifted", "vanished", "appeared"))
        print(f"| {label} |", " | ".join(counts), f"| {found_again(pairs[model])} |")
    print()


for title, table, name, rows in [
    ("held out", agreement, "held-out-report", HELD_OUT),
    ("road-test", differences, "road-test", RECIPES),
    ("road-test, choice of pictures", differences, "road-test", CHOICE),
    ("street", differences, "street-report", STREET),
    ("road-test, observers", differences, "road-test", OBSERVERS),
    ("road-test, pictures", differences, "road-test", COUNTS),
    ("tracking", differences, "tracking", RECIPES),
    ("tracking, choice of pictures", differences, "tracking", CHOICE),
    ("tracking, observers", differences, "tracking", OBSERVERS),
    ("tracking, pictures", differences, "tracking", COUNTS),
]:
    print(f"{title}\n")
    table(name, rows)
