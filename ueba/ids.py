"""On which days an event's id may stand already: a SQLite index beside the event files, which are the truth.

It only says where to look. A file that it does not name (its writer died before the commit, something else
wrote it) is read in before anything is asked, so the index may be deleted at any time. One transaction is
one writer: two runs at once take turns.
"""

import datetime as dt
import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from ueba.errors import UebaError
from ueba.settings import day_number, day_of
from ueba.store import Home

FILE = "ids.sqlite"
PATIENCE_S = 600.0
"""How long another run is waited for. Source: our choice: reading in 30 million ids, about five minutes."""
_TABLES = """
create table if not exists files (name text primary key) without rowid;
create table if not exists ids (id integer, day integer, primary key (id, day)) without rowid;
create temp table asked (id integer primary key);
"""


class Ids:
    """The ids of a home within one transaction."""

    def __init__(self, home: Home, connection: sqlite3.Connection) -> None:
        """Read in the event files that the index does not name."""
        self._home = home
        self._connection = connection
        known = {name for (name,) in connection.execute("select name from files")}
        for day in home.days():
            for file in home.event_files([day]):
                if self._name(file) not in known:
                    self.add(file, day, pq.read_table(file, columns=["event_id"])["event_id"].to_pylist())

    def days_of(self, ids: Iterable[str]) -> list[dt.date]:
        """Return the days on which any of the ids may stand; one more than needed does no harm."""
        self._connection.execute("delete from asked")
        self._connection.executemany(
            "insert or ignore into asked values (?)", ((_short(one),) for one in ids)
        )
        found = self._connection.execute("select distinct day from asked join ids using (id) order by day")
        return [day_of(day) for (day,) in found]

    def add(self, file: Path, day: dt.date, ids: Collection[str]) -> None:
        """Note that a file of a day has these ids."""
        number = day_number(day)
        self._connection.executemany(
            "insert or ignore into ids values (?, ?)", sorted((_short(one), number) for one in ids)
        )
        self._connection.execute("insert or ignore into files values (?)", (self._name(file),))

    def _name(self, file: Path) -> str:
        return file.relative_to(self._home.root).as_posix()


def _short(event_id: str) -> int:
    """Return 64 bits of an id: half the room of a text; two ids of the same bits cost one look more."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "big", signed=True)


@contextmanager
def open_ids(home: Home) -> Iterator[Ids]:
    """Hold the index while events are written; UebaError when another run holds it for too long."""
    home.root.mkdir(parents=True, exist_ok=True)
    file = home.root / FILE
    with closing(sqlite3.connect(file, timeout=PATIENCE_S, isolation_level=None)) as connection:
        try:
            connection.executescript(_TABLES)
            connection.execute("begin immediate")
        except sqlite3.DatabaseError as error:
            raise UebaError(
                f"{file}: {error}; wait for the other run to end, or delete the file if it is broken: "
                "it is made anew from the events"
            ) from error
        try:
            yield Ids(home, connection)
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")
