"""Staff-behaviour scoring: what it finds on a made-up organisation and on real labelled users, and how fast.

`python -m bench.staff_behaviour [--part trial|sequences|stream|daily ...] [--staff 1000] [--json]`; writes
bench/results/ueba.json. The trial's organisation is drawn from a seed that nothing was tuned on. Real
users are Schonlau's (masquerade data: `commands.zip` and `label.txt` in the folder that BIYI_SCHONLAU
names); the settings were tuned on users 1-15, and users 16-25 are reported.
"""

import asyncio
import csv
import datetime as dt
import json
import os
import platform
import resource
import shutil
import socket
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

RESULT = Path(__file__).parent / "results" / "ueba.json"
CLEAN_BLOCKS, BLOCKS, BLOCK = 50, 150, 100
HELD_OUT = range(16, 26)
STREAM_RATE, STREAM_SECONDS, STREAM_BATCH_S = 2000, 10, 0.02


def peak_mb() -> float:
    """Return the most memory that this process has had, in MB (it only grows from part to part)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)


def run_trial(folder: Path, told: Callable[[str], None], plan: dict[str, int]) -> dict[str, Any]:
    """Generate, score, review; the figures of `biyi ueba trial`."""
    from ueba.generator.write import Plan, write_organisation
    from ueba.proof import try_home
    from ueba.settings import Settings
    from ueba.store import Home

    home = Home(folder / "trial")
    for made in write_organisation(home, Plan(**plan)):
        told(f"generating {made.day}")
    return try_home(home, Settings(), 1, told)


def run_sequences(folder: Path, told: Callable[[str], None]) -> dict[str, Any]:
    """Judge on real labelled users that nothing was tuned on; skipped, loudly, without the data."""
    from ueba.sequences import judge, make_tables, read_events, read_labels, score_sequences
    from ueba.settings import Settings

    data = os.environ.get("BIYI_SCHONLAU")
    if not data:
        told("SKIPPED: BIYI_SCHONLAU names no folder")
        return {"skipped": "BIYI_SCHONLAU is not set"}
    events, labels = folder / "commands.csv", folder / "labels.csv"
    write_schonlau(Path(data), events, labels)
    begun = time.monotonic()
    table, attributes = read_events(events, BLOCK)
    tables, domain = make_tables(table, attributes, CLEAN_BLOCKS)
    judged = score_sequences(tables, domain, CLEAN_BLOCKS, Settings())
    rows, label = read_labels(labels, judged)
    found = judge(judged, rows, label, 1)
    return {
        "users": [HELD_OUT.start, HELD_OUT.stop - 1],
        "steps": len(rows),
        "attacks": int(label.sum()),
        "bootstrap": "500 draws of users, seed 1",
        "seconds": round(time.monotonic() - begun, 1),
        "scores": found,
    }


def write_schonlau(data: Path, events: Path, labels: Path) -> None:
    """Write the commands of all users, and the labels of the held-out ones, in the form of `evaluate`."""
    marks = [line.split() for line in (data / "label.txt").read_text().splitlines()]
    with zipfile.ZipFile(data / "commands.zip") as archive, events.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["entity", "time", "action"])
        for user in range(1, 26):
            lines = archive.read(f"User{user}").decode().split("\n")[: BLOCKS * BLOCK]
            writer.writerows(
                (f"User{user:02d}", place, line.strip() or "-") for place, line in enumerate(lines)
            )
    with labels.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["entity", "step", "label"])
        for user in HELD_OUT:
            writer.writerows(
                (f"User{user:02d}", CLEAN_BLOCKS + row, marks[row][user - 1]) for row in range(100)
            )


async def stream(port: int, password: str) -> dict[str, Any]:
    """Offer 2,000 events/s on schedule and measure each from its schedule to its provisional score."""
    from redis.asyncio import Redis

    from ueba.events import Event
    from ueba.provisional import Profile
    from ueba.settings import Settings
    from ueba.stream import StreamScorer, write_profiles

    valkey = Redis(host="127.0.0.1", port=port, password=password, decode_responses=True)
    scorer = StreamScorer(valkey, Settings())
    usual = Profile({"looks": 3.5, "bare": 0.5}, {"looks": 0.4, "bare": 0.6}, 40.0)
    names = [f"e{n:05d}" for n in range(1000)]
    await write_profiles(valkey, dict.fromkeys(names, usual), dict.fromkeys(names, ("action:view",)))
    at = dt.datetime(2026, 3, 2, 2, tzinfo=dt.UTC)
    total = STREAM_RATE * STREAM_SECONDS
    events = [
        Event(event_id=f"b{n}", at=at, staff=names[n % 1000], action="view", customer=f"c{n % 7919}",
              terminal=f"t{n % 1000}")
        for n in range(total)
    ]  # fmt: skip
    lags, done, begun, cpu = [], 0, time.monotonic(), time.process_time()
    while done < total:
        due = min(total, int((time.monotonic() - begun) * STREAM_RATE))
        if due == done:
            await asyncio.sleep(STREAM_BATCH_S)
            continue
        await scorer.apply(events[done:due])
        now = time.monotonic() - begun
        lags.extend(1000 * (now - n / STREAM_RATE) for n in range(done, due))
        done = due
    cpu = time.process_time() - cpu
    day = int((at.timestamp() + 28_800) // 86_400)
    counts = [await valkey.hget(f"ueba:day:{day}:{name}", "looks") for name in names]
    applied = sum(int(one or 0) for one in counts)
    await valkey.aclose()
    lags.sort()
    return {
        "offered_per_s": STREAM_RATE,
        "events": total,
        "seconds": round(time.monotonic() - begun, 1),
        "python_cpu_us_per_event": round(1e6 * cpu / total),
        "p50_ms": round(lags[len(lags) // 2], 1),
        "p99_ms": round(lags[int(len(lags) * 0.99)], 1),
        "max_ms": round(lags[-1], 1),
        "lost_or_doubled": total - applied,
    }


def run_stream(folder: Path, told: Callable[[str], None]) -> dict[str, Any]:
    """Measure the streaming path on a Valkey of its own that writes every second."""
    import subprocess

    from redis import Redis
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    from runbooks.stand.binaries import find_valkey

    told("streaming")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    password = "bench"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", password, "--dir", str(folder),
               "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]  # fmt: skip
    server = subprocess.Popen([str(find_valkey()), *options], stdout=subprocess.DEVNULL)
    try:
        Redis(port=port, password=password, retry=Retry(ConstantBackoff(0.05), 200)).ping()  # it answers
        return asyncio.run(stream(port, password))
    finally:
        server.terminate()
        server.wait(10)


def run_daily(folder: Path, told: Callable[[str], None], staff: int, days: int) -> dict[str, Any]:
    """Time the daily path from events on disk to scores of the last day; then a million staff-days scored."""
    from ueba.daily import Wanted, keep, score_home
    from ueba.generator.write import Plan, write_organisation
    from ueba.settings import Baseline, ScoreSettings, Settings
    from ueba.store import Home

    home = Home(folder / "daily")
    events = sum(made.events for made in write_organisation(home, Plan(staff, days, 0, days, 5)))
    told(f"{events} events are there; scoring")
    small = Settings(baseline=Baseline(window=14, gap=3), score=ScoreSettings(least_periods=5))
    known = home.days()
    last = max(day for day in known if day.weekday() < 5)
    begun, cpu = time.monotonic(), time.process_time()
    scored = score_home(home, Wanted(last, last - dt.timedelta(days=5)), small, told)
    keep(home, scored)
    return {
        "staff": staff,
        "days": days,
        "events": events,
        "staff_days": len(scored.evidence),
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": peak_mb(),
        "engine_memory_limit": "3GB",
    }


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(["trial", "sequences", "stream", "daily"]))
@click.option("--staff", default=1000, show_default=True, help="Of the trial.")
@click.option("--days", default=180, show_default=True, help="Of the trial.")
@click.option("--cases", default=3, show_default=True, help="Of each scenario and intensity.")
@click.option("--seed", default=7, show_default=True, help="Of the generator; 1 and 2 were tuned on.")
@click.option("--daily-staff", default=10_000, show_default=True)
@click.option("--daily-days", default=30, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(parts: tuple[str, ...], daily_staff: int, daily_days: int, as_json: bool, **trial: int) -> None:
    """Measure; parts that are not asked for keep their last result."""
    console = Console(stderr=True)

    def told(text: str) -> None:
        console.print(f"[bench-ueba] {text}", highlight=False)

    plan = trial | {"first": trial["days"] // 2}
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
    for part in parts or ("trial", "sequences", "stream", "daily"):
        folder = Path(tempfile.mkdtemp(prefix="biyi-ueba-"))
        told(part)
        begun = time.monotonic()
        try:
            match part:
                case "trial":
                    result[part] = run_trial(folder, told, plan)
                case "sequences":
                    result[part] = run_sequences(folder, told)
                case "stream":
                    result[part] = run_stream(folder, told)
                case _:
                    result[part] = run_daily(folder, told, daily_staff, daily_days)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        result[part] |= {
            "load_average": round(os.getloadavg()[0], 1),
            "whole_seconds": round(time.monotonic() - begun),
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else summary(result))


def summary(result: dict[str, Any]) -> str:
    """Return the figures that must hold, a line each."""
    lines = []
    if trial := result.get("trial"):
        for row in trial["layers"]["scenarios"]:
            found = f"{row['found']} of {row['cases']}, recall {row['recall']}"
            lines.append(
                f"{row['scenario']:4} {row['intensity']}: {found}, days to queue {row['median_days']}"
            )
        for name in ("layers", "control"):
            one = trial[name]
            recall = one["recall"]
            lines.append(f"{name}: easy {recall['easy']} hard {recall['hard']}; precision {one['precision']}")
    if found := result.get("sequences", {}).get("scores"):
        lines += [f"{row['score']}: AUC {row['auc']} AP {row['ap']} at 3 {row['at_3']}" for row in found]
    for part in ("stream", "daily"):
        if part in result:
            lines.append(f"{part}: {result[part]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
