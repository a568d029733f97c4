#!/usr/bin/env python3
"""Kills: SIGKILL in the middle of recalibrations, reloads and quantization at start, then what is left on the disk.

    tests/soak/kills.py --kills 60

Needs `cargo build --release` before. A third of the kills goes to each of the three. After each one the service starts
again and must serve the right model: a whole generation, the file of the configuration on the disk, or the artifact that
an undisturbed quantization gives. No event may be lost that was reported more than two seconds before a kill, and no
temporary file may stay. The last line of stdout is the result as JSON; the exit code is 1 if a check failed.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from run import ask, replace_configuration

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120
# Events of the last seconds before a kill may be lost: they are synchronized every few seconds.
UNSYNCED_S = 2

CONFIG = """
[device]
id = "kills"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
[model]
{model}
[detector]
threads = 1
[[camera]]
name = "street"
kind = "pattern"
fps = 5.0
[[publish]]
kind = "file"
path = "{folder}/events.jsonl"
messages = ["event"]
[track]
patience = "{patience}s"
[history]
enabled = true
[monitor]
enabled = {monitor}
share = 1.0
sample_interval = "500ms"
reservoir = "8MiB"
keep_frames = true
"""


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Kills:
    def __init__(self, program, folder, seed):
        self.program, self.folder, self.random = program, folder, random.Random(seed)
        self.count, self.problems, self.kill_times = Counter(), [], []
        self.process, self.patience = None, 1
        self.log = open(folder / "log.txt", "ab")

    def problem(self, text):
        print(f"PROBLEM {text}", flush=True)
        self.problems.append(text)

    def call(self, *arguments):
        return subprocess.run(
            [self.program, *map(str, arguments)], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ).stdout

    def configure(self, model, monitor=True):
        text = CONFIG.format(folder=self.folder, model=model, patience=self.patience, monitor=str(monitor).lower())
        replace_configuration(self.folder, text)

    def start(self):
        command = [self.program, "run", "--config", self.folder / "lookout.toml"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)

    def kill(self, what):
        if self.process.poll() is not None:
            self.problem(f"{what}: the service had ended with {self.process.returncode}")
        self.process.kill()
        self.process.wait()
        self.kill_times.append(time.time())
        self.count[f"kills in {what}"] += 1

    def stop(self):
        self.process.terminate()
        if code := self.process.wait(60):
            self.problem(f"the service ended with {code} after SIGTERM")

    def ask(self, verb, arguments=None):
        return ask(self.folder, verb, arguments)

    def ready(self):
        """The status, once frames are analysed."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended by itself with {self.process.returncode}")
            try:
                status = self.ask("status")["result"]
                if status.get("state") == "ok" and status["cameras"]["street"].get("analysed_fps"):
                    return status
            except (OSError, ValueError, KeyError):
                pass  # not listening yet, or no camera yet
            time.sleep(0.05)
        raise TimeoutError(f"not ready within {READY_S} s: {status}")

    # The three kinds.

    def recalibrations(self, kills):
        """A serving generation is one of the ledger, and none of those before the kill is lost or changed."""
        # Calibrated at night, so that a recalibration by day is accepted.
        pictures, path = self.folder / "night", self.folder / "night.lookout"
        self.call("pattern", "--export", pictures, "--count", 16, "--step", 40, "--weather", "night")
        self.call("quantize", "demo-fp32", "--images", pictures / "image_2", "--count", 16, "--out", path,
                  "--allow-unfit")
        self.configure(f'artifact = "{path}"\nreference = "demo-fp32"')
        self.start()
        self.ready()
        # An attempt that nothing disturbs. Its frames are kept on disk for the others.
        time.sleep(60)
        begun, decided = time.monotonic(), self.decisions()
        self.recalibrate()
        while self.decisions() == decided and time.monotonic() < begun + READY_S:
            time.sleep(0.1)
        took = time.monotonic() - begun
        self.count["ms of an undisturbed recalibration"] = round(took * 1000)
        for _ in range(kills):
            time.sleep(self.random.uniform(0.5, 3))
            before = self.generations()
            self.recalibrate()
            time.sleep(self.random.uniform(0, 1.2 * took))
            self.kill("recalibration")
            self.start()
            status, after = self.ready(), self.generations()
            for number, digest in before.items():
                # Five generations are kept.
                if after.get(number, digest) != digest:
                    self.problem(f"generation {number} was {digest} and is {after[number]}")
            model = status["model"]
            if after.get(model["generation"]) != model["sha256"]:
                self.problem(f"it serves {model}, the ledger has {after}")
        self.count["decisions"] = self.decisions()
        self.count["generations"] = max(self.generations())
        self.stop()

    def recalibrate(self):
        answer = self.ask("recalibrate")
        self.count["recalibrations begun" if answer.get("ok") else "recalibrations refused at once"] += 1

    def decisions(self):
        text = (self.folder / "events.jsonl").read_text()
        return text.count('"calibration.accepted"') + text.count('"calibration.refused"')

    def generations(self):
        entries = self.ask("generations")["result"]
        return {entry["generation"]: entry["sha256"] for entry in entries}

    def reloads(self, kills):
        """The configuration on the disk is in force after a kill, and its model serves."""
        models = {}
        pictures = self.folder / "pictures/image_2"
        for observer in ("l2", "mse"):
            path = self.folder / f"{observer}.lookout"
            self.call("quantize", self.folder / "small.safetensors", "--images", pictures, "--count", 8, "--out", path,
                      "--observer", observer, "--allow-unfit")
            models[f'artifact = "{path}"'] = sha256(path)
        names = list(models)
        self.configure(names[0])
        self.start()
        self.ready()
        for number in range(kills):
            self.patience = 1 + number % 3
            self.configure(names[number % 2])
            self.process.send_signal(1)
            time.sleep(self.random.uniform(0, 0.6))
            self.kill("reload")
            self.start()
            found = self.ready()["model"]["sha256"]
            if found != models[names[number % 2]]:
                self.problem(f"reload {number}: it serves {found}, expected {models[names[number % 2]]}")
        self.stop()

    def quantizations(self, kills):
        """Whatever a kill leaves, the next start serves what an undisturbed quantization gives."""
        model = f'checkpoint = "{self.folder}/small.safetensors"\ncalibration = "{self.folder}/pictures/image_2"'
        state = self.folder / "state"
        self.configure(model, monitor=False)
        expected, took = None, 0
        for number in range(kills + 1):
            for path in (state / "quantized").glob("*"):
                path.unlink()
            begun = time.monotonic()
            self.start()
            if number > 0:
                time.sleep(self.random.uniform(0, took))
                self.kill("quantization")
                self.start()
            found = self.ready()["model"]["sha256"]
            if number == 0:
                expected, took = found, time.monotonic() - begun
            elif found != expected:
                self.problem(f"quantization {number}: {found}, undisturbed {expected}")
            self.stop()

    def whole(self, kills):
        golden = ROOT / "tests/golden/r18.safetensors"
        self.call("import", golden, "--min-size", 64, "--max-size", 96, "--out", self.folder / "small.safetensors")
        self.call("pattern", "--export", self.folder / "pictures", "--count", 16, "--step", 40, "--width", 96,
                  "--height", 64)
        self.recalibrations(kills // 3)
        self.events()
        self.reloads(kills // 3)
        self.quantizations(kills - 2 * (kills // 3))
        for path in self.folder.rglob("*"):
            if path.is_file() and (".tmp" in path.name or path.name.startswith(".")):
                self.problem(f"temporary file {path} was left")

    def events(self):
        """Every event of the file is in the history, and the other way round, but for the last seconds before a kill."""
        self.start()
        self.ready()
        history, before = {}, None
        while True:
            answer = self.ask("events", {"limit": 1000, "before": before})["result"]
            history.update((entry["message"]["id"], entry["message"]["at"]) for entry in answer["events"])
            before = answer["next"]
            if before is None:
                break
        self.stop()
        file = {}
        for line in (self.folder / "events.jsonl").read_text().splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                self.count["torn lines"] += 1
                continue
            if message["event"] == "object.update":
                continue  # not stored
            if message["id"] in file:
                self.problem(f"event {message['id']} is twice in the file")
            file[message["id"]] = message["at"]
        self.count["events"] = len(file)
        # The history was read before the end.
        end = time.time() - 60
        for found, other, name in [(file, history, "history"), (history, file, "file")]:
            for event, at in found.items():
                seconds = time.mktime(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
                is_recent = seconds > end or any(0 <= kill - seconds < UNSYNCED_S for kill in self.kill_times)
                if event not in other and not is_recent:
                    self.problem(f"event {event} of {at} is missing in the {name}")
        if self.count["torn lines"] > len(self.kill_times):
            self.problem(f"{self.count['torn lines']} torn lines")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/lookout")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(options.program.resolve(), Path(folder), options.seed)
        try:
            kills.whole(options.kills)
        except Exception as error:
            kills.problem(f"{type(error).__name__}: {error}")
            print((Path(folder) / "log.txt").read_text()[-3000:], file=sys.stderr)
        finally:
            if kills.process and kills.process.poll() is None:
                kills.process.kill()
    print(json.dumps({"problems": kills.problems, "counts": dict(sorted(kills.count.items()))}))
    return 1 if kills.problems else 0


if __name__ == "__main__":
    sys.exit(main())
