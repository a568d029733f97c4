#!/usr/bin/env python3
"""Soak: runs the service for hours beside a broker, a stream and clients that come and go, and checks what it leaves.

    tests/soak/run.py --hours 2

Needs mosquitto, mosquitto_sub and ffmpeg, and `cargo build --release` before. Each cycle of two hours begins with
SIGKILLs and continues with one long life of the process, in which memory, descriptors and threads must not grow.
All the time the synthetic street goes through its weathers, recalibrations and reloads are requested, the broker ends,
is killed or hangs, the stream ends, stalls, sends garbage or refuses, and ffmpeg is killed. The last line of stdout is
the result as JSON; the exit code is 1 if a check failed. `--self-test` tests the checks themselves.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import checks

ROOT = Path(__file__).resolve().parents[2]
CYCLE_S = 7200
# Share of a cycle with SIGKILLs.
KILLS_SHARE = 0.2
SAMPLE_S = 10
READY_S = 60

CONFIG = """
[device]
id = "soak"
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
log_format = "json"
[model]
artifact = "demo-int8"
reference = "demo-fp32"
[detector]
threads = 1
[[camera]]
name = "street"
kind = "pattern"
fps = 2.0
max_fps = {max_fps}
timetable = [{timetable}]
[[camera]]
name = "folder"
kind = "replay"
path = "{folder}/pictures/image_2"
rate = 1.0
loop = true
[[camera]]
name = "stream"
kind = "ffmpeg"
input = "http://127.0.0.1:{stream}/"
[[publish]]
kind = "mqtt"
host = "127.0.0.1"
port = {broker}
keep_alive = "10s"
[[publish]]
kind = "file"
path = "{folder}/events.jsonl"
messages = ["event"]
max_size = "1GiB"
[track]
patience = "{patience}"
[history]
enabled = true
[monitor]
enabled = true
sample_interval = "20s"
reservoir = "4MiB"
[web]
enabled = true
listen = "127.0.0.1:{web}"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def timetable():
    """A day of 24 minutes, over and over."""
    weathers = ["night", "rain", "fog", "day"]
    lines = [f'{{ at = "{6 * n + 6}m", weather = "{weathers[n % 4]}", over = "60s" }}' for n in range(40)]
    return ", ".join(lines)


class Stream(socketserver.ThreadingTCPServer):
    """A camera over HTTP (MJPEG) whose connections end, stall, send garbage or are refused."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, pictures, count, seed):
        self.pictures, self.count, self.random = pictures, count, random.Random(seed)
        super().__init__(("127.0.0.1", 0), Connection)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        server = self.server
        kind = server.random.choice(["ends", "ends", "ends", "stalls", "garbage", "refused"])
        server.count[f"stream {kind}"] += 1
        try:
            self.request.recv(4096)
            if kind == "refused":
                self.request.sendall(b"HTTP/1.0 503 Service Unavailable\r\n\r\n")
                return
            self.request.sendall(
                b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
            )
            end = time.monotonic() + server.random.uniform(10, 240)
            number = 0
            while time.monotonic() < end:
                picture = server.pictures[number % len(server.pictures)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.request.sendall(head.encode() + picture + b"\r\n")
                number += 1
                time.sleep(0.5)
            if kind == "stalls":
                time.sleep(20)
            elif kind == "garbage":
                self.request.sendall(server.random.randbytes(50_000))
        except OSError:
            pass  # the reader went away


class Broker:
    """A mosquitto that keeps its sessions on disk, and a subscriber that receives every event."""

    def __init__(self, folder, count):
        self.folder, self.count, self.port, self.process = folder, count, free_port(), None
        self.kills = []
        (folder / "mosquitto").mkdir()
        text = f"""listener {self.port} 127.0.0.1
allow_anonymous true
user root
persistence true
persistence_location {folder}/mosquitto/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
"""
        (folder / "mosquitto.conf").write_text(text)
        self.log = open(folder / "mosquitto.log", "ab")
        self.start()
        command = ["mosquitto_sub", "-p", str(self.port), "-i", "soak-subscriber", "-c", "-q", "1", "-k", "10"]
        command += ["-t", "lookout/soak/events", "-F", "%p"]
        self.received = open(folder / "received.jsonl", "ab")
        self.subscriber = subprocess.Popen(command, stdout=self.received, stderr=subprocess.DEVNULL)

    def start(self):
        command = ["mosquitto", "-c", str(self.folder / "mosquitto.conf")]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        until("mosquitto listens", lambda: connects(self.port), 30)

    def flap(self, kind, pause):
        """Ends, kills or stops the broker for a while."""
        self.count[f"broker {kind}"] += 1
        if kind == "hangs":
            self.process.send_signal(signal.SIGSTOP)
            pause()
            self.process.send_signal(signal.SIGCONT)
            return
        if kind == "killed":
            self.kills.append(time.time())
        self.process.send_signal(signal.SIGKILL if kind == "killed" else signal.SIGTERM)
        self.process.wait()
        pause()
        self.start()

    def close(self):
        for process in (self.subscriber, self.process):
            process.terminate()
            process.wait()


def connects(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(what, is_so, seconds):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.2)


def children(pid):
    """The child processes of a process, by their names."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            try:
                found[int(child)] = Path(f"/proc/{child}/comm").read_text().strip()
            except OSError:
                pass  # it ended meanwhile
    return found


def ask(folder, verb, args=None):
    """The answer of the control socket of the service in `folder`."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(60)
        stream.connect(str(folder / "run/control.sock"))
        stream.sendall(json.dumps({"verb": verb, "args": args}).encode() + b"\n")
        return json.loads(stream.makefile().readline())


def replace_configuration(folder, text):
    """Replaces lookout.toml in one step, so that a reload reads it whole."""
    path = folder / "lookout.toml"
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


class Soak:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.random, self.count, self.problems = random.Random(options.seed), Counter(), []
        # Events that are neither stored nor kept for the broker.
        self.transient = set()
        self.lives, self.kills, self.process, self.waiting = [], [], None, None
        self.settings = {"max_fps": 0.0, "patience": "2s"}
        self.web = free_port()
        subprocess.run(
            [options.program, "pattern", "--export", folder / "pictures", "--count", "80", "--step", "2"]
            + ["--width", "320", "--height", "180", "--weather", "day,night,rain,fog", "--scenes", "4"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        pictures = [path.read_bytes() for path in sorted((folder / "pictures/image_2").iterdir())]
        self.stream = Stream(pictures, self.count, options.seed)
        self.broker = Broker(folder, self.count)
        self.log = open(folder / "log.jsonl", "ab")

    def problem(self, text):
        print(f"{time.strftime('%H:%M:%S')} PROBLEM {text}", flush=True)
        self.problems.append(text)

    def configure(self):
        text = CONFIG.format(
            folder=self.folder,
            timetable=timetable(),
            stream=self.stream.server_address[1],
            broker=self.broker.port,
            web=self.web,
            **self.settings,
        )
        replace_configuration(self.folder, text)

    # The service.

    def start(self):
        self.configure()
        command = [self.options.program, "run", "--config", self.folder / "lookout.toml"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)
        self.lives.append({"begin": time.time(), "samples": []})
        self.count["starts"] += 1

    def ready(self):
        def frames():
            self.alive()
            try:
                return self.metrics()["analysed"] > 2
            except OSError:
                return False

        until("the service analyses frames", frames, READY_S)

    def alive(self):
        code = self.process.poll()
        if code is not None:
            raise RuntimeError(f"the service ended by itself with {code}; see {self.folder}/log.jsonl")

    def ask(self, verb, args=None):
        return ask(self.folder, verb, args)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{path}", timeout=30) as answer:
            return answer.read()

    def metrics(self):
        """The metrics that the accounts need, summed over cameras."""
        found = Counter(cameras=3)
        names = {
            "lookout_frames_captured_total": "captured",
            "lookout_frames_dropped_total": "dropped frames",
            "lookout_frame_age_seconds_count": "analysed",
            "lookout_spool_entries": "waiting",
            "lookout_camera_reconnects_total": "reconnects",
        }
        for line in self.get("/metrics").decode().splitlines():
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            if name in names:
                found[names[name]] += float(value)
            elif name == "lookout_spool_messages_total":
                result = labels.split('result="')[1].split('"')[0]
                found[result if result in ("produced", "delivered") else "dropped messages"] += float(value)
            elif name == "lookout_publish_total" and 'result="ok"' not in labels and 'sink="web"' not in labels:
                found["failed"] += float(value)
        return found

    def sample(self):
        """One sample of the process, and its accounts."""
        self.alive()
        pid = self.process.pid
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        sample = {
            "at": time.time(),
            "rss": int(status["VmRSS"].split()[0]) * 1024,
            "anonymous": int(status["RssAnon"].split()[0]) * 1024,
            "peak": int(status["VmHWM"].split()[0]) * 1024,
            "threads": int(status["Threads"]),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "children": len(children(pid)),
            "cpu_s": (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
        }
        self.lives[-1]["samples"].append(sample)
        with open(self.folder / "samples.jsonl", "a") as file:
            file.write(json.dumps({"life": len(self.lives), "pid": pid, **sample}) + "\n")
        if sample["children"] > 2:
            self.problem(f"{sample['children']} child processes at once")
        self.accounts()

    def accounts(self):
        # Counters are read one after the other while they change: one of three readings must fit.
        for attempt in range(3):
            found = self.metrics()
            counts = {"captured": found["captured"], "analysed": found["analysed"], "dropped": found["dropped frames"]}
            problems = checks.frames({**counts, "cameras": 3})
            counts = {name: found[name] for name in ("produced", "delivered", "waiting")}
            problems += checks.spool({**counts, "dropped": found["dropped messages"]})
            self.waiting = found["waiting"]
            if not problems:
                break
            time.sleep(0.5)
        for text in problems:
            self.problem(text)
        self.count["accounts"] += 1
        if found["failed"] > self.lives[-1].get("failed", 0):
            self.lives[-1]["failed"] = found["failed"]
            self.problem(f"{found['failed']:g} messages failed or were dropped before a sink")
        self.lives[-1]["reconnects"] = found["reconnects"]

    # What is done to it.

    def reload(self, by_signal=False):
        kind = self.random.choice(["rules", "run", "wrong"])
        if by_signal or kind != "wrong":
            key, values = ("max_fps", [0.0, 1.5, 3.0]) if kind == "rules" else ("patience", ["1s", "2s", "3s"])
            self.settings[key] = self.random.choice([value for value in values if value != self.settings[key]])
            self.configure()
            if by_signal:
                self.process.send_signal(signal.SIGHUP)
                self.count["reload by signal"] += 1
                return
            expected = {"rules": ["camera"], "run": ["track"]}[kind]
            answer = self.ask("reload")
            if not answer.get("ok") or answer["result"]["changed"] != expected:
                self.problem(f"reload of {expected}: {answer}")
        else:
            path = self.folder / "lookout.toml"
            path.write_text(path.read_text().replace("[track]", "[track]\nunknown_key = 1"))
            answer = self.ask("reload")
            if answer.get("ok") or answer["error"]["kind"] != "config":
                self.problem(f"a wrong configuration was accepted: {answer}")
            self.configure()
            answer = self.ask("reload")
            if not answer.get("ok") or answer["result"]["changed"]:
                self.problem(f"reload back to the configuration in force: {answer}")
        self.count[f"reload of {kind}"] += 1

    def recalibrate(self):
        answer = self.ask("recalibrate")
        self.count["recalibrate" if answer.get("ok") else "recalibrate refused"] += 1

    def kill_ffmpeg(self):
        for pid, name in children(self.process.pid).items():
            if name == "ffmpeg":
                os.kill(pid, signal.SIGKILL)
                self.count["ffmpeg killed"] += 1

    def visit(self):
        for path in ("/", "/healthz", "/api/v1/status", "/api/v1/events?limit=20", "/api/v1/series", "/api/v1/drift"):
            self.get(path)
        for camera in ("street", "folder"):
            self.get(f"/api/v1/cameras/{camera}/picture")
        self.count["visits"] += 1

    def flap_broker(self):
        # Without a backlog, what a killed broker may forget is recent.
        kinds = ["ends", "hangs"] + (["killed", "killed"] if self.waiting == 0 else [])
        seconds = self.random.uniform(2, 60)
        self.broker.flap(self.random.choice(kinds), lambda: self.run_for(seconds))

    def kill(self):
        """SIGKILL in the middle of something."""
        what = self.random.choice(["nothing", "recalibration", "reload", "start"])
        if what == "recalibration":
            self.recalibrate()
            time.sleep(self.random.uniform(0, 3))
        elif what == "reload":
            self.reload(by_signal=True)
            time.sleep(self.random.uniform(0, 0.5))
        elif what == "start":
            self.process.kill()
            self.kills.append(time.time())
            self.process.wait()
            self.start()
            time.sleep(self.random.uniform(0.02, 1.5))
        self.alive()
        self.kills.append(time.time())
        self.process.kill()
        self.process.wait()
        self.count[f"kill in {what}"] += 1
        self.count["kills"] += 1
        self.start()
        self.ready()

    def run_for(self, seconds):
        """Samples only."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SAMPLE_S))
            self.sample()

    def act(self, seconds, kills):
        """A phase: random actions with pauses between them."""
        end = time.monotonic() + seconds
        actions = [self.reload, self.recalibrate, self.kill_ffmpeg, self.visit, self.flap_broker]
        deck = []
        while (left := end - time.monotonic()) > 0:
            # A shuffled deck: every action comes equally often.
            deck = deck or self.random.sample(actions, len(actions))
            if kills:
                self.kill()
            deck.pop()()
            self.run_for(min(left, self.random.uniform(10, 60)))

    def whole(self):
        self.start()
        self.ready()
        left = self.options.hours * 3600
        while left > 0:
            cycle = min(CYCLE_S, left)
            self.act(cycle * KILLS_SHARE, kills=True)
            print(f"{time.strftime('%H:%M:%S')} {self.count['kills']} kills; one long life begins", flush=True)
            self.act(cycle * (1 - KILLS_SHARE), kills=False)
            left -= cycle
        self.end()

    def end(self):
        """Everything is delivered, then the service stops in order."""

        def delivered():
            self.alive()
            return self.metrics()["waiting"] == 0

        until("every event is delivered", delivered, 120)
        history, before = set(), None
        while True:
            answer = self.ask("events", {"limit": 1000, "before": before})
            history.update(entry["message"]["id"] for entry in answer["result"]["events"])
            before = answer["result"]["next"]
            if before is None:
                break
        snapshot = time.time()
        self.process.terminate()
        code = self.process.wait(30)
        if code != 0:
            self.problem(f"the service ended with {code} after SIGTERM")
        time.sleep(2)
        self.broker.close()
        outputs = {"history": history, "file": self.identifiers("events.jsonl"), "mqtt": self.identifiers("received.jsonl")}
        # The history was read before the end, the others after it.
        outputs = {
            name: {event for event in found if checks.time_and_number(event)[0] < snapshot - 5}
            for name, found in outputs.items()
        }
        self.problems += checks.events(outputs, self.kills, self.broker.kills, self.transient)
        self.count["events"] = len(set().union(*outputs.values()))

    def identifiers(self, name):
        found, torn = set(), 0
        for line in (self.folder / name).read_text().splitlines():
            try:
                message = json.loads(line)
                found.add(message["id"])
                if message["event"] == "object.update":
                    self.transient.add(message["id"])
                self.count[message["event"]] += name == "events.jsonl"
            except ValueError:
                torn += 1
        if torn:
            self.problem(f"{name} has {torn} lines that are no message")
        return found

    def result(self, begun):
        hours = (time.time() - begun) / 3600
        lines = []
        for line in (self.folder / "log.jsonl").read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
                lines.append((entry["level"], entry["fields"].get("message", "")))
            except ValueError:
                lines.append(("", line))
        self.problems += checks.log(lines, hours)
        problems, measured = checks.resources(self.lives)
        self.problems += problems
        self.count["calibrations"] = self.count["calibration.accepted"] + self.count["calibration.refused"]
        self.count["reconnects"] = int(sum(life.get("reconnects", 0) for life in self.lives))
        scale = max(1, int(self.options.hours))
        least = ("kills", 8), ("recalibrate", 4), ("calibrations", 1), ("reload of run", 1), ("reload of rules", 1)
        least += ("reload of wrong", 1), ("ffmpeg killed", 2), ("reconnects", 5), ("events", 200), ("visits", 4)
        least += ("broker ends", 1), ("broker killed", 1), ("broker hangs", 1)
        self.problems += checks.happened(self.count, {name: number * scale for name, number in least})
        cpu = sum(life["samples"][-1]["cpu_s"] for life in self.lives if life["samples"])
        peak = max((sample["peak"] for life in self.lives for sample in life["samples"]), default=0)
        return {
            "hours": round(hours, 2),
            "problems": self.problems,
            "counts": dict(sorted(self.count.items())),
            "long_lives": measured,
            "peak_mib": round(peak / checks.MIB, 1),
            "cpu_share_of_a_core": round(cpu / (hours * 3600), 3),
            "log_lines": Counter(message for _, message in lines).most_common(12),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/lookout")
    parser.add_argument("--folder", type=Path, help="keep log, samples and messages here; it must not exist")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--self-test", action="store_true", help="test the checks and end")
    options = parser.parse_args()
    if options.self_test:
        checks.self_test()
        return 0
    missing = [name for name in ("mosquitto", "mosquitto_sub", "ffmpeg") if not shutil.which(name)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    if options.folder:
        options.folder.mkdir(parents=True)
    folder = options.folder.resolve() if options.folder else Path(tempfile.mkdtemp(prefix="lookout-soak-"))
    print(f"everything is kept in {folder}", flush=True)
    soak, begun = Soak(options, folder), time.time()
    try:
        soak.whole()
    except (RuntimeError, TimeoutError, OSError) as error:
        soak.problem(f"{type(error).__name__}: {error}")
    finally:
        for process in (soak.process, soak.broker.subscriber, soak.broker.process):
            if process and process.poll() is None:
                process.kill()
    result = soak.result(begun)
    for problem in result["problems"]:
        print("PROBLEM", problem)
    print(json.dumps(result))
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
