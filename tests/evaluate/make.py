"""Makes coco/*.json: ground truth, detections and pycocotools' figures for them.

    pip install pycocotools==2.0.11 numpy && python tests/evaluate/make.py

Random boxes of a fixed seed: objects of all sizes, crowds, ties of score, more than a hundred detections of a class in
a picture, pictures and classes without objects, annotation ids that begin at 0 in one of the cases, areas that are not
those of the boxes, areas at the bounds of small, medium and large and one digit of a double beside them.
"""

import contextlib
import io
import json
import math
import pathlib
import random

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HERE = pathlib.Path(__file__).parent / "coco"


def case(seed, pictures, classes, first_id, crowds, detections, whole):
    rng = random.Random(seed)
    number = (lambda x: float(round(x))) if whole else (lambda x: round(x, 2))
    images = [{"id": 10 * i + 3, "file_name": f"{i:04}.png", "width": 640, "height": 480} for i in range(pictures)]
    categories = [{"id": 2 * c + 1, "name": f"class {c}"} for c in range(classes)]
    annotations, results = [], []
    for image in images[: pictures - 1]:
        for _ in range(rng.randrange(0, 9)):
            side = rng.choice([12, 40, 90, 200])
            w, h = side * rng.uniform(0.5, 1.5), side * rng.uniform(0.5, 1.5)
            x, y = rng.uniform(0, 640 - w), rng.uniform(0, 480 - h)
            box = [number(v) for v in (x, y, w, h)]
            category = rng.choice(categories[: classes - 1])["id"]
            crowd = int(rng.random() < crowds)
            annotations.append({
                "id": first_id + len(annotations), "image_id": image["id"], "category_id": category, "bbox": box,
                "area": round(box[2] * box[3] * (rng.uniform(0.5, 1.0) if not whole else 1.0), 2), "iscrowd": crowd,
            })
            for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
                jitter = rng.choice([0.0, 0.02, 0.08, 0.2])
                noisy = [number(v + rng.gauss(0, jitter) * s) for v, s in zip(box, (w, h, w, h))]
                noisy[2], noisy[3] = abs(noisy[2]) + 1, abs(noisy[3]) + 1
                label = category if rng.random() < 0.9 else rng.choice(categories)["id"]
                results.append({
                    "image_id": image["id"], "category_id": label, "bbox": noisy, "score": round(rng.random(), 2),
                })
        for _ in range(rng.randrange(0, detections)):
            box = [number(v) for v in (rng.uniform(0, 600), rng.uniform(0, 440), rng.uniform(4, 160), rng.uniform(4, 160))]
            results.append({
                "image_id": image["id"], "category_id": rng.choice(categories)["id"], "bbox": box,
                "score": round(rng.random() * 0.7, 2),
            })
    truth = {"images": images, "categories": categories, "annotations": annotations}
    return truth, results


def bounds(seed):
    """Areas at 32² and 96²; numbers with all their digits; ids of no order; a box without a picture of its own."""
    rng = random.Random(seed)
    images = [{"id": i, "file_name": f"{i}.png", "width": 640, "height": 480} for i in rng.sample(range(1, 10**6), 8)]
    categories = [{"id": i, "name": f"class {i}"} for i in rng.sample(range(1, 10**4), 3)]
    near = lambda area: rng.choice([area, math.nextafter(area, 0), math.nextafter(area, math.inf)])
    annotations, results = [], []
    for image in images[1:]:
        for _ in range(rng.randrange(1, 6)):
            area = rng.choice([32.0**2, 96.0**2])
            w = rng.choice([math.sqrt(area), 16.0, 48.0, rng.uniform(20, 120)])
            box = [rng.uniform(0, 500), rng.uniform(0, 400), w, area / w]
            annotations.append({
                "id": 7 * len(annotations) + 5, "image_id": image["id"], "category_id": rng.choice(categories)["id"],
                "bbox": box, "area": near(area), "iscrowd": 0,
                "segmentation": {"counts": "]}\\\"", "size": [480, 640]},
            })
            for _ in range(rng.randrange(0, 3)):
                noisy = [v + rng.choice([0, 0, 0.3, 2]) * rng.random() for v in box]
                category = rng.choice([annotations[-1]["category_id"], rng.choice(categories)["id"]])
                results.append({
                    "image_id": image["id"], "category_id": category, "bbox": noisy, "score": round(rng.random(), 1),
                })
        results.append({
            "image_id": image["id"], "category_id": rng.choice(categories)["id"], "score": round(rng.random(), 1),
            "bbox": [rng.uniform(0, 600), rng.uniform(0, 440), 32.0, near(32.0)],
        })
    rng.shuffle(results)
    return {"images": images, "categories": categories, "annotations": annotations}, results


def figures(truth, results):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        ev = COCOeval(coco, coco.loadRes(json.loads(json.dumps(results))), "bbox")
        ev.evaluate()
        ev.accumulate()
        ev.summarize()
    names = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100",
             "ar_small", "ar_medium", "ar_large"]
    found = {name: float(value) for name, value in zip(names, ev.stats)}
    precision = ev.eval["precision"]  # overlap, recall, class, area, detections
    found["classes"] = {
        category["name"]: None if (p := precision[:, :, at, 0, -1]).max() < 0 else [
            float(p.mean()), float(p[0].mean()), float(p[5].mean())]
        for at, category in enumerate(sorted(truth["categories"], key=lambda category: category["id"]))
    }
    return found


def main():
    HERE.mkdir(exist_ok=True)
    cases = {
        "mixed": (1, 12, 4, 1, 0.1, 6, False),
        "crowded": (2, 5, 2, 1, 0.3, 260, False),
        "id-zero": (3, 6, 3, 0, 0.0, 4, True),
        "sparse": (4, 3, 6, 1, 0.5, 2, True),
    }
    made = {name: case(*args) for name, args in cases.items()} | {"bounds": bounds(5)}
    for name, (truth, results) in made.items():
        for part, value in ("truth", truth), ("results", results), ("figures", figures(truth, results)):
            (HERE / f"{name}.{part}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
        print(name, len(truth["annotations"]), len(results))


if __name__ == "__main__":
    main()
