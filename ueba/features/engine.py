"""Runs the feature expressions on an engine: DuckDB with bounded memory by default, or Spark."""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from ueba.features import tables
from ueba.store import EVENTS, Home

MEMORY_LIMIT = "3GB"
"""Most memory of the embedded engine; beyond it, it works on disk. Source: our choice, so that scoring fits
beside the services on a machine of 8 GB."""
THREADS = 2


@contextmanager
def open_duckdb(folder: Path | None = None, memory_limit: str = MEMORY_LIMIT) -> Iterator[Any]:
    """Open an embedded engine; what does not fit into memory lies in `folder` meanwhile."""
    options = {"temp_directory": str(folder)} if folder else {}
    backend = ibis.duckdb.connect(
        threads=THREADS, memory_limit=memory_limit, preserve_insertion_order=False, **options
    )
    try:
        yield backend
    finally:
        backend.disconnect()


def read_frame(
    backend: Any, home: Home, days: Sequence[dt.date], utc_offset_minutes: int, keep: tuple[str, ...] = ()
) -> ir.Table:
    """Return the frame of the events of some days, on whatever engine `backend` is."""
    events = _read(backend, [str(file) for file in home.event_files(days)], EVENTS)
    registers = {name: _read_register(backend, home, name) for name in ("staff", "customer", "relation")}
    return tables.make_frame(events, registers, utc_offset_minutes, keep)


def _read(backend: Any, files: Sequence[str], schema: pa.Schema) -> ir.Table:
    if not files:
        return ibis.memtable(schema.empty_table())
    if backend.name == "pyspark":
        # Hadoop's pattern for several files; ibis passes one path on.
        read: ir.Table = backend.read_parquet(f"/{{{','.join(file.lstrip('/') for file in files)}}}")
        return read
    found: ir.Table = backend.read_parquet(list(files), hive_partitioning=False)
    return found


def _read_register(backend: Any, home: Home, name: str) -> ir.Table:
    file = home.register(name)
    return _read(backend, [str(file)] if file.exists() else [], home.read_register(name).schema)


def run(expression: ir.Table, order: Sequence[str]) -> pa.Table:
    """Return the rows of an expression in a fixed order, so that nothing after it depends on the engine's."""
    found: pa.Table = expression.to_pyarrow()
    return found.sort_by([(name, "ascending") for name in order])
