"""The embedded engine keeps to its memory: what does not fit is worked on beside the events, on disk."""

from ueba.features.engine import THREADS, open_duckdb


def value(backend, query):
    return backend.raw_sql(query).fetchone()[0]


def test_the_engine_has_the_limit_that_is_stated(tmp_path):
    with open_duckdb(tmp_path) as backend:
        assert value(backend, "select current_setting('memory_limit')") in ("2.7 GiB", "3.0 GB")
        assert value(backend, "select current_setting('threads')") == THREADS
        assert value(backend, "select current_setting('temp_directory')") == str(tmp_path)


def test_what_is_larger_than_the_memory_is_worked_on_on_disk(tmp_path):
    rows = 5_000_000
    with open_duckdb(tmp_path / "spill", "60MB") as backend:
        backend.raw_sql(f"create table many as select i, hash(i) as h from range({rows}) t(i)")
        assert value(backend, "select coalesce(sum(size), 0) from duckdb_temporary_files()") > 0
        assert value(backend, "select count(distinct h) from many") == rows
