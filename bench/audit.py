"""What the audit trail costs: a posted repayment with and without, sealing, and verifying an export.

`python -m bench.audit [--seconds 1] [--turns 4] [--entries 300000] [--json]`; writes
bench/results/audit.json. Rates with and without are taken by turns in one run, so other work on the machine
meets both alike. Six months are computed from the measured rates, signatures included.
"""

import asyncio
import datetime as dt
import json
import os
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from bench.core.__main__ import CLIENTS, run_ours
from bench.core.ground import DAY, Ground, open_ground, seed
from compliance.audit.chain import Entry, Sealing, begin_chain, plan_block
from compliance.audit.checkpoint import CellMark, Checkpoint, Mark, Statement, begin_checkpoints
from compliance.audit.digest import compute_sm3
from compliance.audit.export import MAGIC
from compliance.audit.signing import check_signature, make_signer, render_public_keys
from compliance.audit.store import seal_next
from compliance.audit.verify import verify_export
from core_app.audit.settings import NotarySettings
from core_app.loans.loan import plan_columns
from core_app.loans.schedule import Terms, plan_equal_instalments
from core_app.products.catalogue import read_catalogue

RESULT = Path(__file__).parent / "results" / "audit.json"
EVENTS_A_DAY, DAYS, LIMIT_MINUTES = 1_000_000, 183, 15
"""Source: the promise in docs/decisions/025."""
COST_LIMIT = 0.15
"""Most that the audit may add to a posted repayment. Source: our promise."""
LOANS_MIN, REPAYMENTS_A_LOAN, MOST_PER_SECOND = 20_000, 15, 5_000
"""Of a loan's about 44 repayments so many at most are spent, were 5,000 posted a second: who repays a settled
loan is refused. Source: our choice; about 2,300 a second measured, and loans are drawn by lot."""
_AT = "2026-11-22T08:00:00.000000+00:00"
_SEALING = Sealing("a", "", 7, "idc", _AT)


def loans_needed(seconds: int, turns: int) -> int:
    """Return how many loans these turns cannot repay in full; each has a second to warm up.

    >>> loans_needed(1, 4), loans_needed(10, 8)
    (20000, 58667)
    """
    return max(LOANS_MIN, -(-2 * turns * (seconds + 1) * MOST_PER_SECOND // REPAYMENTS_A_LOAN))


def measure_cost(ground: Ground, seconds: int, turns: int, loans: int) -> dict[str, Any]:
    """Return repayments a second and processor time of one, with and without the trigger, by turns."""
    sizes = {"workers": 1, "clients": CLIENTS, "loans": loans, "first": loans}
    found: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for turn in range(turns):
        for name in ("with", "without") if turn % 2 == 0 else ("without", "with"):
            switch_audit(ground, on=name == "with")
            found[name].append(run_ours(ground, "repayments", seconds, sizes))
    switch_audit(ground, on=True)

    def cpu(one: dict[str, float]) -> float:
        return one["python_cpu_ms"] + one["server_cpu_ms"]

    pairs = list(zip(found["with"], found["without"], strict=True))
    per_second = statistics.median(w["per_second"] / wo["per_second"] for w, wo in pairs)
    return {
        "turns": turns,
        "with_per_second": statistics.median(one["per_second"] for one in found["with"]),
        "without_per_second": statistics.median(one["per_second"] for one in found["without"]),
        "seconds": seconds,
        "loans": loans,
        "time_added": round(1 / per_second - 1, 3),
        "cpu_ms_with": round(statistics.median(map(cpu, found["with"])), 3),
        "cpu_ms_without": round(statistics.median(map(cpu, found["without"])), 3),
        "cpu_added": round(statistics.median(cpu(w) / cpu(wo) for w, wo in pairs) - 1, 3),
        "server_cpu_added": round(
            statistics.median(w["server_cpu_ms"] / wo["server_cpu_ms"] for w, wo in pairs) - 1, 3
        ),
    }


def switch_audit(ground: Ground, *, on: bool) -> None:
    """Let commands leave audit entries, or not."""
    verb = "enable" if on else "disable"
    with psycopg.connect(ground.dsn("biyi_owner"), autocommit=True) as connection:
        connection.execute(f"alter table core.outbox {verb} trigger told_is_audited".encode())


async def measure_sealing(ground: Ground) -> dict[str, Any]:
    """Seal everything the repayments left; beside it SM3 and insert of the same lines, row by row."""
    async with await psycopg.AsyncConnection.connect(ground.dsn("biyi_audit"), autocommit=True) as notary:
        begun, sealed, more = time.perf_counter(), 0, True
        while more:
            async with notary.transaction():
                done = await seal_next(notary, _SEALING)
            sealed, more = sealed + done.entries, done.more
        seconds = time.perf_counter() - begun
    async with await psycopg.AsyncConnection.connect(ground.dsn("biyi_owner"), autocommit=True) as raw:
        rows = await (await raw.execute("select line from audit.entries limit 20000")).fetchall()
        lines = [line for (line,) in rows]
        await raw.execute("create table bare (n bigint primary key, line text, digest bytea)")
        begun = time.perf_counter()
        for start in range(0, len(lines), 2000):
            batch = lines[start : start + 2000]
            values = [(start + n, line, compute_sm3(line.encode())) for n, line in enumerate(batch)]
            async with raw.transaction(), raw.cursor() as cursor:
                await cursor.executemany("insert into bare values (%s, %s, %s)", values)
        bare_seconds = time.perf_counter() - begun
    return {
        "sealed": sealed,
        "sealed_per_second": round(sealed / seconds),
        "raw_sm3_and_insert_per_second": round(len(lines) / bare_seconds),
        "line_bytes": round(statistics.mean(len(line.encode()) for line in lines)),
        "line": lines[-1],
    }


def write_sample(path: Path, line: str, entries: int) -> int:
    """Write an export of one cell with blocks as a million events a day make them; return its checkpoints."""
    pauses = NotarySettings()
    size = max(1, round(EVENTS_A_DAY / 86_400 * pauses.seal_every_s / 2))
    blocks_a_checkpoint = round(pauses.checkpoint_every_s / pauses.seal_every_s)
    signers = {"idc": make_signer("idc"), "cloud": make_signer("cloud")}
    newest = {site: begin_checkpoints(site) for site in signers}
    head, marks, checkpoints = begin_chain("a", "bench"), dict.fromkeys(signers, 0), []
    with tempfile.TemporaryFile() as body:
        while head.entries < entries:
            first = head.entries + 1
            some = tuple(Entry(100 + n, n, line) for n in range(first, first + size))
            block = plan_block(replace(_SEALING, chain="bench"), head, 100 + first + size, some)
            body.write(f"B {block.hash.hex()} {block.digests.hex()} {block.line}\n".encode())
            body.write(b"".join(b"E " + entry.line + b"\n" for entry in some))
            head = block.head
            if head.number % blocks_a_checkpoint == 0:
                mark = CellMark("bench", 7, head.number, head.entries, head.hash.hex())
                for site, other in (("idc", "cloud"), ("cloud", "idc")):
                    marks[site] += 1
                    anchor = newest[other] if marks[other] else None
                    signer = signers[site]
                    said = Statement(
                        site, marks[site], _AT, signer.key_id, newest[site].hash, {"a": mark}, anchor
                    )
                    text = said.to_line()
                    one = Checkpoint(said, text, signer.sign(text.encode()))
                    newest[site] = one.mark
                    checkpoints.append((site, f"C {one.signature.hex()} {text}\n".encode()))
        keys = {signer.key_id: signer.public for signer in signers.values()}
        header = MAGIC + json.dumps({"at": _AT, "site": "idc", "keys": render_public_keys(keys)}).encode()
        told = {"chain": "bench", "blocks": head.number, "entries": head.entries, "hash": head.hash.hex()}
        end = json.dumps({
            "at": _AT, "key": signers["idc"].key_id, "header": compute_sm3(header + b"\n").hex(),
            "cells": {"a": told}, "remembered": {}, "checkpoints": _plain(newest),
        })  # fmt: skip
        with path.open("wb") as file:
            file.write(header + b"\n")
            file.writelines(text for site in signers for at, text in checkpoints if at == site)
            body.seek(0)
            while chunk := body.read(1 << 20):
                file.write(chunk)
            file.write(f"T {signers['idc'].sign(end.encode()).hex()} {end}\n".encode())
    return len(checkpoints)


def processor_seconds() -> float:
    """Return the processor time of this process and its ended workers."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def _plain(marks: dict[str, Mark]) -> dict[str, list[int | str]]:
    return {site: [mark.number, mark.hash] for site, mark in marks.items()}


def measure_verify(line: str, entries: int) -> dict[str, Any]:
    """Verify a sample and compute six months of a million events a day from it."""
    signer = make_signer("idc")
    signature, checks, cpu = signer.sign(b"bench"), list[float](), processor_seconds()
    for _ in range(20):
        begun = time.perf_counter()
        assert check_signature(signer.public, b"bench", signature)
        checks.append(time.perf_counter() - begun)
    signature_s = min(checks)  # as the sample below: what others take on the machine is left out of both
    signature_cpu_s = (processor_seconds() - cpu) / 20
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.audit"
        checkpoints = write_sample(path, line, entries)
        took, used = [], []
        for _ in range(3):
            begun, cpu = time.perf_counter(), processor_seconds()
            report = verify_export(path, None)
            took.append(time.perf_counter() - begun)
            used.append(processor_seconds() - cpu)
            assert report.first is None, report.first
        size = path.stat().st_size
    seconds = min(took)
    signatures_s = report.signatures * signature_s
    row_cpu_s = (min(used) - report.signatures * signature_cpu_s) / report.entries
    rows_per_second = report.entries / (seconds - signatures_s)
    total = EVENTS_A_DAY * DAYS
    signed = 2 * DAYS * 86_400 / NotarySettings().checkpoint_every_s / 60
    return {
        "entries": report.entries,
        "blocks": report.blocks,
        "checkpoints": checkpoints,
        "signatures": report.signatures,
        "bytes": size,
        "seconds_each": [round(one, 2) for one in took],
        "rows_per_second": round(rows_per_second),
        "signature_ms": round(1000 * signature_s, 1),
        "six_months_entries": total,
        "six_months_signatures_checked": round(signed),
        "row_cpu_us": round(1e6 * row_cpu_s, 2),
        "signature_cpu_ms": round(1000 * signature_cpu_s, 1),
        # Other work on the machine takes wall time, not processor time: this is it with all cores free.
        "six_months_minutes_by_processor_time": round(
            (total * row_cpu_s / (os.cpu_count() or 1) + signed * signature_cpu_s) / 60, 1
        ),
        "six_months_minutes": round((total / rows_per_second + signed * signature_s) / 60, 1),
        "six_months_gigabytes": round(size / report.entries * total / 1e9, 1),
        "limit_minutes": LIMIT_MINUTES,
    }


@click.command()
@click.option("--seconds", default=1, show_default=True, help="Length of each turn.")
@click.option("--turns", default=4, show_default=True, help="Turns with and without the audit.")
@click.option("--entries", default=300_000, show_default=True, help="Entries of the verified sample.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(seconds: int, turns: int, entries: int, as_json: bool) -> None:
    """Measure and write bench/results/audit.json."""
    loans = loans_needed(seconds, turns)
    day = dt.date.fromisoformat(DAY)
    rate = read_catalogue().versions["instalment-12", 1].pricing.rate_annual
    columns = plan_columns(plan_equal_instalments(Terms(1_200_000, rate, 12), day), day)
    result: dict[str, Any] = {"load_before": os.getloadavg()}
    with open_ground() as ground:
        seed(ground, columns | {"loans": loans, "contracts": 100, "day": DAY, "interest": 120_195})
        result["repayment"] = measure_cost(ground, seconds, turns, loans)
        result["sealing"] = asyncio.run(measure_sealing(ground))
    result["verify"] = measure_verify(result["sealing"].pop("line"), entries)
    result |= {"cpus": os.cpu_count(), "python": platform.python_version(), "load_after": os.getloadavg()}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(result))
        return
    table = Table("audit", "measured", "limit")
    cost, verify, sealing = result["repayment"], result["verify"], result["sealing"]
    table.add_row("time added to a repayment", f"{cost['time_added']:.1%}", f"{COST_LIMIT:.0%}")
    table.add_row("processor time added", f"{cost['cpu_added']:.1%}", "")
    table.add_row("entries sealed a second", f"{sealing['sealed_per_second']:,}", "")
    table.add_row("SM3 and insert, bare", f"{sealing['raw_sm3_and_insert_per_second']:,}", "")
    table.add_row("rows verified a second", f"{verify['rows_per_second']:,}", "")
    for name, text in (("", "by the clock"), ("_by_processor_time", "by processor time, all cores free")):
        minutes = verify[f"six_months_minutes{name}"]
        table.add_row(f"six months verify in, {text}", f"{minutes} min", f"{LIMIT_MINUTES} min")
    Console().print(table)


if __name__ == "__main__":
    main()
