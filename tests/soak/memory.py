#!/usr/bin/env python3
"""Memory: runs the demo with its monitor in a memory control group, as root.

    tests/soak/memory.py --limit 64 --minutes 10

The service must live to the end, recalibrations included, and no process of the group may be killed. With a limit of
40 MiB, which is too little for certain, its log must name the least need. The last line of stdout is the result as JSON.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
TOO_LITTLE = 40


class Group:
    """A memory control group, of the unified hierarchy or of version 1."""

    def __init__(self, name, limit):
        unified = Path("/sys/fs/cgroup/cgroup.controllers")
        self.is_unified = unified.exists() and "memory" in unified.read_text().split()
        self.folder = Path("/sys/fs/cgroup" if self.is_unified else "/sys/fs/cgroup/memory") / name
        if self.is_unified:
            Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
        self.folder.mkdir()
        self.write("memory.max" if self.is_unified else "memory.limit_in_bytes", limit * MIB)
        if self.is_unified:
            self.write("memory.swap.max", 0)

    def write(self, name, value):
        (self.folder / name).write_text(str(value))

    def statistics(self):
        """Peak in MiB, and the number of killed processes."""
        peak = self.folder / ("memory.peak" if self.is_unified else "memory.max_usage_in_bytes")
        events = self.folder / ("memory.events" if self.is_unified else "memory.oom_control")
        kills = dict(line.split() for line in events.read_text().splitlines())["oom_kill"]
        return round(int(peak.read_text()) / MIB, 1) if peak.exists() else None, int(kills)

    def start(self, command, **options):
        return subprocess.Popen(command, preexec_fn=lambda: self.write("cgroup.procs", os.getpid()), **options)

    def remove(self):
        self.folder.rmdir()


def run(program, limit, seconds):
    """The result of `seconds` of the demo in a group of `limit` MiB."""
    group = Group(f"lookout-memory-{os.getpid()}-{limit}", limit)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = [f"device.state_dir={folder}/state", f"device.runtime_dir={folder}/run", "history.enabled=true"]
        settings += [f"web.listen=127.0.0.1:{port}", "monitor.recalibrate=on-drift"]
        command = [program, "run", "--demo", *(word for value in settings for word in ("--set", value))]
        with open(f"{folder}/out", "wb") as out, open(f"{folder}/log", "wb") as log:
            process = group.start(command, stdout=out, stderr=log)
            end, peak_rss = time.monotonic() + seconds, 0
            asked = 0
            while process.poll() is None and (left := end - time.monotonic()) > 0:
                time.sleep(min(left, 5))
                if seconds - left > 60 * (asked + 1):
                    asked += 1
                    ask = [program, "recalibrate", "--set", f"device.runtime_dir={folder}/run"]
                    subprocess.run(ask, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
                try:
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    peak_rss = int(status.split("VmHWM:")[1].split()[0]) * 1024
                except (OSError, IndexError):
                    pass  # it ended meanwhile
            code = process.poll()
            process.terminate()
            process.wait()
        text = Path(f"{folder}/log").read_text()
        lines = Path(f"{folder}/out").read_text().splitlines()
    peak, kills = group.statistics()
    group.remove()
    result = {"limit_mib": limit, "ended_with": code, "oom_kills": kills, "group_peak_mib": peak}
    result["vm_hwm_mib"] = round(peak_rss / MIB, 1)
    result["reports"] = sum('"type":"report"' in line for line in lines)
    result["recalibrations"] = sum('"event":"calibration.' in line and "candidate" not in line for line in lines)
    result["need_is_named"] = "below what this configuration needs" in text
    result["without_reference"] = "monitoring without the full-precision reference" in text
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=64, help="MiB")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/lookout")
    options = parser.parse_args()
    problems = []
    result = run(options.program, options.limit, options.minutes * 60)
    if result["ended_with"] is not None or result["oom_kills"]:
        problems.append(f"the service did not live in {options.limit} MiB")
    if result["reports"] < options.minutes * 60 or not result["recalibrations"]:
        problems.append(f"{result['reports']} reports, {result['recalibrations']} recalibrations")
    little = run(options.program, TOO_LITTLE, 15)
    if not little["need_is_named"]:
        problems.append(f"a limit of {TOO_LITTLE} MiB is not warned of")
    print(json.dumps({"problems": problems, "enough": result, "too_little": little}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
