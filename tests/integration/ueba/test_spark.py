"""The same expressions on DuckDB and on Spark give the same rows (`make test-spark`: needs Java)."""

import datetime as dt

import ibis
import pytest

from ueba.features import tables
from ueba.features.days import NAMES, compute_tables
from ueba.features.engine import open_duckdb, read_frame
from ueba.generator.write import Plan, write_organisation
from ueba.store import Home

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def spark():
    try:
        from pyspark import sql
    except ImportError:
        pytest.fail("nothing was compared: needs pip install 'biyi[spark]' and Java 17")
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_both_engines_make_the_same_rows(tmp_path, spark):
    home = Home(tmp_path)
    list(write_organisation(home, Plan(staff=60, days=35, cases=0, first=35, seed=1)))
    days = home.days()[:3]
    with open_duckdb() as backend:
        mine = compute_tables(backend.create_table("frame", read_frame(backend, home, days, 480), temp=True))
    other = compute_tables(read_frame(ibis.pyspark.connect(spark), home, days, 480).cache())
    assert days[0] == dt.date(2026, 1, 5)
    for name in NAMES:
        left, right = getattr(mine, name), getattr(other, name)
        assert left.num_rows == right.num_rows > 0
        assert left.to_pylist() == right.to_pylist()
    assert set(tables.COUNTS) <= set(mine.staff_days.column_names)
