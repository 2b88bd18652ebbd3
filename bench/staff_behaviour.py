"""Staff-behaviour scoring: what it finds on a made-up organisation and on real labelled users, and how fast.

`python -m bench.staff_behaviour [--part trial|sequences|stream|daily|million ...] [--json]`; writes
bench/results/ueba.json. The trial's organisations are drawn from seeds that nothing was tuned on. Real
users are Schonlau's (masquerade data: `commands.zip` and `label.txt` in the folder that BIYI_SCHONLAU
names); the settings were tuned on users 1-15, and users 16-25 are reported.
"""

import asyncio
import csv
import datetime as dt
import json
import multiprocessing
import os
import platform
import resource
import shutil
import socket
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
from rich.console import Console

RESULT = Path(__file__).parent / "results" / "ueba.json"
CLEAN_BLOCKS, BLOCKS, BLOCK, HELD_OUT, MILLION = 50, 150, 100, range(16, 26), 1_000_000
FINAL_SEEDS = (10, 11, 12)
"""Nothing was tuned on them; what was missed on 7 to 9 led to changes (docs/decisions/078)."""
SPEED_SEED, SCORED_AT_ONCE = 5, 14
"""Seed of the speed parts; days scored at once. Source: our choice, 80,000 rows, half a gigabyte."""
LONGEST_LAG_MS, LONGEST_DAILY_S, LEAST_AUC, LEAST_AP = 1000, 120, 0.94, 0.50
TRIALS_AT_ONCE = 3
"""Seeds tried side by side, each in a process of about 2 GB. Source: our choice, for machines of 8 GB."""
STREAM_RATE, STREAM_SECONDS, STREAM_BATCH_S = 2000, 10, 0.02


def peak_mb() -> float:
    """Return the most memory that this process has had, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0)


def run_trials(
    folder: Path, told: Callable[[str], None], plan: dict[str, int], seeds: tuple[int, ...]
) -> dict[str, Any]:
    """Generate, score, review for each seed, some at a time; all seeds' cases together."""
    from ueba.trial import pool_trials

    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(TRIALS_AT_ONCE, len(seeds)), mp_context=spawn) as pool:
        told(f"seeds {', '.join(map(str, seeds))}: generating, scoring, reviewing day by day")
        folders = (folder / f"trial-{seed}" for seed in seeds)
        tried = list(pool.map(try_seed, folders, seeds, [plan] * len(seeds)))
    found = [one for one, _ in tried]
    pooled = {name: pool_trials([one[name] for one in found]) for name in ("layers", "control")}
    by_seed = [
        {"seed": seed, "burden": one["burden"], **{name: _brief(one[name]) for name in pooled}}
        for seed, one in zip(seeds, found, strict=True)
    ]
    peak = max(megabytes for _, megabytes in tried)
    return pooled | {"plan": plan, "seeds": list(seeds), "by_seed": by_seed, "peak_mb_of_a_seed": peak}


def try_seed(folder: Path, seed: int, plan: dict[str, int]) -> tuple[dict[str, Any], float]:
    """Return the figures of `biyi ueba trial` for one seed, and the most memory in MB."""
    from ueba.generator.write import Plan, write_organisation
    from ueba.proof import try_home
    from ueba.settings import Settings
    from ueba.store import Home

    home = Home(folder)
    for _ in write_organisation(home, Plan(**plan, seed=seed)):
        pass
    try:
        return try_home(home, Settings(), 1, lambda _: None), peak_mb()
    finally:
        shutil.rmtree(folder)


def _brief(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "scenarios"}


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
    events = sum(made.events for made in write_organisation(home, Plan(staff, days, 0, days, SPEED_SEED)))
    told(f"{events} events are there; scoring")
    small = Settings(baseline=Baseline(window=14, gap=3), score=ScoreSettings(least_periods=5))
    known = home.days()
    last = max(day for day in known if day.weekday() < 5)
    begun, cpu = time.monotonic(), time.process_time()
    scored = score_home(home, Wanted(last, last - dt.timedelta(days=5)), small, told)
    keep(home, scored)
    return {
        "seed": SPEED_SEED,
        "staff": staff,
        "days": days,
        "events": events,
        "staff_days": len(scored.evidence),
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": peak_mb(),
        "engine_memory_limit": "3GB",
    }


PARTS = ("trial", "sequences", "stream", "daily", "million")


def run_million(folder: Path, told: Callable[[str], None], staff: int, days: int) -> dict[str, Any]:
    """Score a million staff-days that follow a past of two months: the figures of `days` days, repeated.

    The engine's work is by day and bounded (part `daily`); this is what grows with staff and history.
    """
    import pyarrow as pa

    from ueba.evidence import compute_evidence
    from ueba.features.days import NAMES, make_days, read_days
    from ueba.features.tables import DayTables
    from ueba.generator.write import Plan, write_organisation
    from ueba.scoring import fit_model, score_days
    from ueba.settings import Settings, day_number
    from ueba.store import Home

    home = Home(folder / "million")
    for _ in write_organisation(home, Plan(staff, days, 0, days, SPEED_SEED)):
        pass
    known, settings = home.days()[: days // 7 * 7], Settings()
    told("figures of the days")
    make_days(home, known, settings)
    once = read_days(home, known)
    past = -(-settings.score.fit_days // len(known))
    times = past + -(-MILLION // len(once.staff_days))

    def repeated(name: str) -> pa.Table:
        table = getattr(once, name)
        at = table.schema.get_field_index("day")
        return pa.concat_tables(
            table.set_column(at, "day", pa.array(table["day"].to_numpy() + len(known) * n))
            for n in range(times)
        )

    tables = DayTables(*(repeated(name) for name in NAMES))
    told(f"{len(tables.staff_days)} staff-days; evidence")
    begun, cpu = time.monotonic(), time.process_time()
    evidence = compute_evidence(tables, settings)
    first = day_number(known[0]) + len(known) * past
    told("fitting and scoring")
    model = fit_model(evidence, first - 1, settings)
    register, scored = home.read_register("staff"), 0
    for start in range(first, first + len(known) * (times - past), SCORED_AT_ONCE):
        rows = evidence.rows_between(start, start + SCORED_AT_ONCE - 1)
        scored += len(score_days(evidence, model, rows, register, settings).score)
    return {
        "seed": SPEED_SEED,
        "staff": staff,
        "staff_days": len(evidence),
        "scored_rows": scored,
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": peak_mb(),
    }


def describe_machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "python": platform.python_version(),
    }


def measure(
    part: str, plan: dict[str, int], seeds: tuple[int, ...], daily: tuple[int, int]
) -> dict[str, Any]:
    """Run a part in this process and return its figures."""
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="biyi-ueba-"))

    def told(text: str) -> None:
        console.print(f"[bench-ueba] {part}: {text}", highlight=False)

    begun = time.monotonic()
    try:
        match part:
            case "trial":
                found = run_trials(folder, told, plan, seeds)
            case "sequences":
                found = run_sequences(folder, told)
            case "stream":
                found = run_stream(folder, told)
            case "daily":
                found = run_daily(folder, told, *daily)
            case _:
                found = run_million(folder, told, *daily)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    whole = {"load_average": round(os.getloadavg()[0], 1), "whole_seconds": round(time.monotonic() - begun)}
    return found | whole | {"measured_on": dt.datetime.now(dt.UTC).date().isoformat()}


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS))
@click.option("--staff", default=1000, show_default=True, help="Of the trial.")
@click.option("--days", default=180, show_default=True, help="Of the trial.")
@click.option("--cases", default=4, show_default=True, help="Of each scenario and intensity, for each seed.")
@click.option("--seed", "seeds", multiple=True, type=int, default=FINAL_SEEDS, show_default=True,
              help="Of the generator; 1 to 3 and 21 to 23 were tuned on.")  # fmt: skip
@click.option("--daily-staff", default=10_000, show_default=True)
@click.option("--daily-days", default=30, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    *, parts: tuple[str, ...], seeds: tuple[int, ...], daily_staff: int, daily_days: int, as_json: bool,
    **trial: int,
) -> None:  # fmt: skip
    """Measure, each part in a process of its own; parts that are not asked for keep their last result."""
    plan = trial | {"first": trial["days"] // 2}
    result = (json.loads(RESULT.read_text()) if RESULT.exists() else {}) | {"machine": describe_machine()}
    spawn = multiprocessing.get_context("spawn")
    for part in parts or PARTS:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            result[part] = pool.submit(measure, part, plan, seeds, (daily_staff, daily_days)).result()
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else summary(result))


def summary(result: dict[str, Any]) -> str:
    """Return the figures that must hold, a line each, and whether they do."""
    lines = []
    if trial := result.get("trial"):
        lines.append(f"trial: {trial['plan']}, seeds {trial['seeds']}, reviews 1 % of the staff a day")
        for row in trial["layers"]["scenarios"]:
            least, most = (0.9, 1) if row["intensity"] == "easy" else (0.5, 1)
            most = 10 if row["slow"] else most
            late = row["median_days"] is None or row["median_days"] > most
            held = row["recall"][0] >= least and not late
            lines.append(
                f"{'holds' if held else 'UNDER':6}{row['scenario']:4} {row['intensity']}: {row['found']} of "
                f"{row['cases']}, recall {row['recall']} (at least {least}), median days to the queue "
                f"{row['median_days']} (at most {most})"
            )
        for name in ("layers", "control"):
            one = trial[name]
            recall = one["recall"]
            lines.append(f"{name}: easy {recall['easy']} hard {recall['hard']}; precision {one['precision']}")
    if found := result.get("sequences", {}).get("scores"):
        for row in found:
            held = row["auc"][0] >= LEAST_AUC and row["ap"][0] >= LEAST_AP
            mark = ("holds" if held else "UNDER") if row["score"] == "whole" else ""
            lines.append(f"{mark:6}{row['score']}: AUC {row['auc']} AP {row['ap']} at 3 {row['at_3']}")
    promised = {
        "stream": lambda one: one["p99_ms"] <= LONGEST_LAG_MS and not one["lost_or_doubled"],
        "daily": lambda one: one["seconds"] <= LONGEST_DAILY_S,
        "million": lambda one: one["scored_rows"] >= MILLION,
    }
    for part, holds in promised.items():
        if part in result:
            lines.append(f"{'holds' if holds(result[part]) else 'UNDER':6}{part}: {result[part]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
