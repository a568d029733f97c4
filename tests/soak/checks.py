"""Checks of the soak: functions of recorded samples, events and logs that return problems as sentences.

`self_test` gives each check a record with a fault and requires that it is found, then a sound one.
"""

from statistics import median

MIB = 1 << 20

# Limits of one life of the process, after its warm-up.
WARM_UP_S = 900
LEAST_SPAN_S = 1500
MOST_RSS_SLOPE = 4.0  # MiB an hour
MOST_RSS_GROWTH = 2.0  # MiB, least growth that counts as a leak
MOST_DESCRIPTORS_GROWTH = 3
MOST_THREADS_GROWTH = 2
MOST_LINES_AN_HOUR = 20_000
# An event may miss from one output if it happened so shortly before a SIGKILL.
KILL_WINDOW_S = 2.0
# A killed broker may forget what it acknowledged so shortly before.
BROKER_WINDOW_S = 5.0


def slope(points):
    """Median of the slopes of all pairs of (x, y): a few steps and outliers do not move it."""
    step = max(1, len(points) // 250)
    points = points[::step]
    pairs = [
        (y2 - y1) / (x2 - x1)
        for i, (x1, y1) in enumerate(points)
        for x2, y2 in points[i + 1 :]
        if x2 > x1
    ]
    return median(pairs) if pairs else 0.0


def growth(samples, key):
    """Difference between the medians of the last and the first fifth of the samples."""
    fifth = max(1, len(samples) // 5)
    first, last = samples[:fifth], samples[-fifth:]
    return median(sample[key] for sample in last) - median(sample[key] for sample in first)


def warm(life):
    """The samples after the warm-up of a life; none of one that ended early."""
    begin = life["begin"]
    samples = [sample for sample in life["samples"] if sample["at"] - begin >= WARM_UP_S]
    long = samples and samples[-1]["at"] - samples[0]["at"] >= LEAST_SPAN_S
    return samples if long else []


def resources(lives):
    """Resident memory, descriptors and threads of the long lives. Returns problems and measurements."""
    problems, measured = [], []
    for number, life in enumerate(lives):
        samples = warm(life)
        if not samples:
            continue
        hours = (samples[-1]["at"] - samples[0]["at"]) / 3600
        rate = slope([(sample["at"] / 3600, sample["rss"] / MIB) for sample in samples])
        grown = growth(samples, "rss") / MIB
        figures = {
            "life": number,
            "hours": round(hours, 2),
            "rss_mib": [round(f(s["rss"] for s in samples) / MIB, 1) for f in (min, median, max)],
            "rss_slope_mib_per_hour": round(rate, 2),
            "rss_growth_mib": round(grown, 2),
        }
        if rate > MOST_RSS_SLOPE and grown > MOST_RSS_GROWTH:
            problems.append(f"life {number}: resident memory grows by {rate:.1f} MiB an hour, {grown:.1f} MiB in all")
        for key, most in (("descriptors", MOST_DESCRIPTORS_GROWTH), ("threads", MOST_THREADS_GROWTH)):
            more = growth(samples, key)
            figures[key] = [min(s[key] for s in samples), median(s[key] for s in samples), max(s[key] for s in samples)]
            if more > most:
                problems.append(f"life {number}: {key} grow by {more:g}")
        measured.append(figures)
    if not measured:
        problems.append("no life was long enough to measure the slope of its memory")
    return problems, measured


def spool(counts):
    """Produced messages are delivered, wait, or were dropped for a reason."""
    accounted = counts["delivered"] + counts["waiting"] + counts["dropped"]
    if counts["produced"] != accounted:
        return [f"spool: {counts['produced']} produced, but {accounted} delivered, waiting or dropped: {counts}"]
    return []


def frames(counts):
    """Captured frames were analysed, dropped for a reason, or are on their way: at most three a camera."""
    on_their_way = counts["captured"] - counts["analysed"] - counts["dropped"]
    if not 0 <= on_their_way <= 3 * counts["cameras"]:
        return [f"frames: {on_their_way} of {counts['captured']} captured are unaccounted for: {counts}"]
    return []


def time_and_number(event):
    """Seconds since 1970 and number within its run, from the identifier of an event."""
    micros, _, number = event.split("-")
    return int(micros) / 1e6, int(number)


def runs(events):
    """Identifiers grouped by the run of the service that gave them: each counts from 0."""
    found, current, early = [], {}, {}
    for event in sorted(events, key=lambda event: time_and_number(event)[0]):
        number = time_and_number(event)[1]
        if number == 0 and 0 in current:
            found.append(current)
            current, early = {**early, 0: event}, {}
        elif number in current:
            # Two threads: the first event of the next run has the later number.
            early[number] = event
        else:
            current[number] = event
    found.append(current)
    return [run for run in found if run], early


def events(outputs, kills, broker_kills, transient=frozenset()):
    """Each event is in every output, unless a process was killed just then. `outputs`: identifiers by output.

    The history may have deleted what is older than its oldest event: it is limited by size. Events in `transient` are
    neither stored nor kept for a broker.
    """
    problems = []
    everything = set().union(*outputs.values())
    oldest = min((time_and_number(event)[0] for event in outputs.get("history", ())), default=0.0)

    def excused(event, output):
        at, _ = time_and_number(event)
        if output == "history" and at < oldest or output != "file" and event in transient:
            return True
        near = any(0 <= kill - at <= KILL_WINDOW_S for kill in kills)
        return near or output == "mqtt" and any(0 <= kill - at <= BROKER_WINDOW_S for kill in broker_kills)

    for output, found in outputs.items():
        missing = sorted(event for event in everything - found if not excused(event, output))
        if missing:
            problems.append(f"{output} lacks {len(missing)} of {len(everything)} events: {', '.join(missing[:5])} …")
    grouped, strays = runs(everything)
    for run in grouped:
        missing = sorted(set(range(max(run) + 1)) - set(run))
        if missing:
            first = next(iter(sorted(run.items())))[1]
            problems.append(f"no output has the events {missing[:5]} of the run that began with {first}")
    if strays:
        problems.append(f"events with a number twice in one run: {sorted(strays.values())[:5]}")
    return problems


def log(lines, hours):
    """Panics, errors and floods. `lines`: level and message of each line. The soak's own wrong configurations are errors."""
    problems = []
    panics = [message for _, message in lines if "panicked" in message]
    if panics:
        problems.append(f"{len(panics)} panics: {panics[0]}")
    expected = ("panicked", "configuration refused")
    errors = [message for level, message in lines if level == "ERROR" and not any(text in message for text in expected)]
    if errors:
        problems.append(f"{len(errors)} lines of level ERROR: {errors[0]}")
    if len(lines) > MOST_LINES_AN_HOUR * max(hours, 0.1):
        problems.append(f"{len(lines)} log lines in {hours:.1f} hours")
    return problems


def happened(counts, least):
    """What the soak was to do took place: a soak that did nothing passes nothing."""
    return [
        f"{name}: {counts.get(name, 0)}, expected at least {number}"
        for name, number in least.items()
        if counts.get(name, 0) < number
    ]


def self_test():
    """Raises AssertionError if a check misses its fault or rejects a sound record."""

    def life(rss=lambda s: 40.0, descriptors=lambda s: 20, threads=lambda s: 12, seconds=4000):
        samples = [
            {"at": s, "rss": rss(s) * MIB, "descriptors": descriptors(s), "threads": threads(s)}
            for s in range(0, seconds, 10)
        ]
        return {"begin": 0, "samples": samples}

    def finds(problems, text):
        assert any(text in problem for problem in problems), (text, problems)

    def noisy(s):
        return 40 + (s * 7919 % 13) / 4

    assert resources([life(noisy)])[0] == []
    assert resources([life(lambda s: 30 + min(s, 800) / 100)])[0] == [], "warming up"
    finds(resources([life(lambda s: noisy(s) + s / 600)])[0], "resident memory grows by 6")
    finds(resources([life(), life(lambda s: 40 + s // 1500 * 3)])[0], "life 1: resident memory")
    finds(resources([life(descriptors=lambda s: 20 + s // 500)])[0], "descriptors grow")
    finds(resources([life(threads=lambda s: 12 + s // 900)])[0], "threads grow")
    finds(resources([life(seconds=1000)])[0], "no life was long enough")

    sound = {"produced": 10, "delivered": 7, "waiting": 2, "dropped": 1}
    assert spool(sound) == []
    finds(spool({**sound, "waiting": 1}), "10 produced")
    sound = {"captured": 100, "analysed": 80, "dropped": 18, "cameras": 1}
    assert frames(sound) == []
    finds(frames({**sound, "dropped": 10}), "unaccounted")
    finds(frames({**sound, "analysed": 83}), "-1 of 100")

    def identifier(second, number):
        return f"{int(second * 1e6)}-boot-{number}"

    first = [identifier(10 + n, n) for n in range(5)]
    # The second run begins with two threads at once.
    second = [identifier(20.1, 1), identifier(20.2, 0), identifier(21, 2)]
    whole = {"mqtt": {*first, *second}, "file": {*first, *second}}
    assert events(whole, [], []) == []
    assert [sorted(run) for run in runs(whole["mqtt"])[0]] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    late = {"mqtt": {*first[:4], *second}, "file": {*first, *second}}
    finds(events(late, [], []), "mqtt lacks 1 of 8")
    assert events(late, [14.5], []) == [] and events(late, [], [18]) == []
    finds(events(late, [17], []), "mqtt lacks 1")
    finds(events({"file": late["mqtt"], "mqtt": whole["mqtt"]}, [], [18]), "file lacks 1")
    newest = {"history": {*first[2:], *second}, "file": whole["file"]}
    assert events(newest, [], []) == []
    finds(events({**newest, "history": {first[2], *second}}, [], []), "history lacks 2")
    finds(events({"mqtt": {*first[:2], *first[3:]}}, [], []), "no output has the events [2]")

    assert log([("INFO", "ready"), ("WARN", "camera lost"), ("ERROR", "configuration refused; …")], 1) == []
    finds(log([("", "thread 'x' panicked at")], 1), "1 panics")
    finds(log([("ERROR", "it broke")], 1), "level ERROR: it broke")
    finds(log([("INFO", "again")] * 50_000, 1), "50000 log lines")
    assert happened({"kills": 3}, {"kills": 3}) == []
    finds(happened({}, {"kills": 3}), "kills: 0, expected at least 3")
