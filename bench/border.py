"""What mutual TLS between the sites costs a byte and a round trip: the border's relay beside its tunnel.

`python -m bench.border [--megabytes 256] [--trips 2000] [--rounds 5] [--json]`; writes
bench/results/border.json. Both in one run, in turn, on the same machine: a relay (one hop, as it is) and a
tunnel (two hops, TLS between them), from a Unix or TCP client to a X"""

import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from bench._stand import write_result
from tests.integration.stand.crossing import Borders, borders_in

ROUNDS = 5
"""Measured in turn, so that a busy minute meets both. Source: our choice; the median is shown."""
CHUNK = bytes(64 << 10)
RECORD = bytes(400)
"""Bytes of a round trip. Source: a repayment's WAL is of that order."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return each record, swallow everything else, say when all of it is there."""
    size = int.from_bytes(await reader.readexactly(8), "big")
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        while size == 0:
            writer.write(await reader.readexactly(len(RECORD)))
        while size > 0:
            size -= len(await reader.read(1 << 20))
        writer.write(b".")
        await writer.drain()
    writer.close()


def cpu_seconds(borders: Borders) -> float:
    """Return the processor time of the border processes."""
    times = [psutil.Process(one.pid).cpu_times() for one in borders.processes.values()]
    return float(sum(t.user + t.system for t in times))


async def pour(borders: Borders, megabytes: int) -> dict[str, float]:
    """Send so much one way; return MB/s and the borders' processor seconds a GB."""
    reader, writer = await borders.client()
    size, cpu, begun = megabytes << 20, cpu_seconds(borders), time.perf_counter()
    writer.write(size.to_bytes(8, "big"))
    for _ in range(size // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()
    await reader.readexactly(1)
    seconds = time.perf_counter() - begun
    writer.close()
    return {
        "mb_per_s": megabytes / seconds,
        "cpu_s_per_gb": (cpu_seconds(borders) - cpu) * 1024 / megabytes,
    }


async def bounce(borders: Borders, trips: int) -> dict[str, float]:
    """Send a record and wait for it, again and again; return microseconds of the median and p99."""
    reader, writer = await borders.client()
    writer.write(bytes(8))
    times = []
    for _ in range(trips):
        begun = time.perf_counter()
        writer.write(RECORD)
        await reader.readexactly(len(RECORD))
        times.append(1e6 * (time.perf_counter() - begun))
    writer.close()
    times.sort()
    return {"trip_p50_us": times[len(times) // 2], "trip_p99_us": times[int(0.99 * len(times))]}


async def connect(borders: Borders, times: int) -> dict[str, float]:
    """Connect and get the first record back; return the median, and the borders' processor time, in ms."""
    found = []
    cpu = cpu_seconds(borders)
    for _ in range(times):
        begun = time.perf_counter()
        reader, writer = await borders.client()
        writer.write(bytes(8) + RECORD)
        await reader.readexactly(len(RECORD))
        found.append(1e3 * (time.perf_counter() - begun))
        writer.close()
    cpu_ms = 1e3 * (cpu_seconds(borders) - cpu) / times
    return {"connect_p50_ms": sorted(found)[len(found) // 2], "connect_cpu_ms": cpu_ms}


def compute_price(rounds: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return what the tunnel costs more than the relay of the same round, by the median over the rounds."""
    pairs = list(zip(rounds["tunnel"], rounds["relay"], strict=True))
    relay_s = sum(relay["cpu_s_per_gb"] for _, relay in pairs)
    return {  # processor time comes in hundredths of a second: of few megabytes a relay may show none
        "cpu_of_a_byte_times": round(sum(tunnel["cpu_s_per_gb"] for tunnel, _ in pairs) / relay_s, 1)
        if relay_s
        else 0.0,
        "trip_p50_us": round(statistics.median(t["trip_p50_us"] - r["trip_p50_us"] for t, r in pairs), 1),
        "connect_cpu_ms": round(
            statistics.median(t["connect_cpu_ms"] - r["connect_cpu_ms"] for t, r in pairs), 2
        ),
    }


async def measure(megabytes: int, trips: int, times: int) -> dict[str, Any]:
    """Measure both forms in turn, `times` each."""
    rounds: dict[str, list[dict[str, float]]] = {"relay": [], "tunnel": []}
    async with contextlib.AsyncExitStack() as stack:
        grounds = {}
        for name in rounds:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="biyi-", dir="/tmp"))
            made = grounds[name] = borders_in(Path(folder), tunnelled=name == "tunnel")
            stack.callback(made.stop)
            for site in ("cloud", "idc"):
                await made.start(site)
            where = made.socket("cloud/copy:a-cloud-0")
            server = (
                await asyncio.start_unix_server(answer, where)
                if made.tunnelled
                else await asyncio.start_server(answer, "127.0.0.1", made.ports["cloud/agent"])
            )
            stack.callback(server.close)
        for _ in range(times):
            for name, made in grounds.items():
                found = await pour(made, megabytes) | await bounce(made, trips) | await connect(made, 100)
                rounds[name].append(found)
    middle = {
        name: {key: round(statistics.median(one[key] for one in some), 2) for key in some[0]}
        for name, some in rounds.items()
    }
    return {**middle, "price": compute_price(rounds), "rounds": rounds}


@click.command()
@click.option("--megabytes", default=256, show_default=True, help="Sent through each, each round.")
@click.option("--trips", default=2000, show_default=True, help="Round trips of a record, each round.")
@click.option("--rounds", default=ROUNDS, show_default=True, help="Turns of both; the median is shown.")
@click.option("--json", "as_json", is_flag=True, help="Print the result object.")
def main(megabytes: int, trips: int, rounds: int, as_json: bool) -> None:
    """Measure both and write bench/results/border.json."""
    busy = os.getloadavg()[0]
    found = asyncio.run(measure(megabytes, trips, rounds))
    result = write_result("border", {"megabytes": megabytes, "trips": trips, **found}, busy)
    if as_json:
        click.echo(json.dumps(result))
        return
    table = Table("", "relay", "tunnel", "price", title="The border, a relay and a tunnel")
    for name in found["relay"]:
        words = (found[side].get(name, "") for side in ("relay", "tunnel", "price"))
        table.add_row(name, *map(str, words))
    Console().print(table)


if __name__ == "__main__":
    main()
