"""What became of a transaction that ended with an error, decided from the error alone."""

import enum

import psycopg

# Class 57P: the server shuts down, crashed, or starts. 25006: it is a standby. 28000: it is fenced.
# 3D000, 42883, 3F000: it is not yet made. 53300: it has no free session. BY001: it is in another epoch.
_ELSEWHERE = frozenset({"25006", "28000", "3D000", "3F000", "53300", "BY001"})
# The last two: the server ended a transaction that was open for too long, most often behind a row lock.
_COLLIDED = frozenset({"40001", "40P01", "25P03", "25P04"})


_MOVED = "BY150"  # core.require_place


class Fate(enum.Enum):
    """What the router does next."""

    RUN_AGAIN = "rolled back by a collision or a limit of time: run again"
    MOVED = "not done: its chunks of slots are not this cell's: look where they are, then run there"
    WAIT = "not done: look whether this primary still is one, then run again"
    UNKNOWN = "COMMIT was sent and its answer is missing: run again, its key decides"
    FINAL = "rolled back, and running it again would not help: the caller's"


class UncertainCommit(Exception):
    """COMMIT was answered with SQLSTATE 01000: it is on disk here and perhaps nowhere else."""


def decide_fate(error: BaseException, *, commit_sent: bool, connection_lost: bool) -> Fate:
    """Say what became of a transaction.

    Once COMMIT is sent, only an answer of severity ERROR proves a roll-back: PostgreSQL raises none
    after the commit record is written, but a FATAL may come between the record and the answer.
    """
    if isinstance(error, UncertainCommit):
        return Fate.UNKNOWN
    if isinstance(error, psycopg.errors.PipelineAborted):
        return Fate.FINAL  # the work went on after an error that it swallowed; COMMIT was skipped
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    refused = isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "ERROR"
    if commit_sent and not refused and (connection_lost or isinstance(error, psycopg.Error)):
        return Fate.UNKNOWN
    if sqlstate == _MOVED:
        return Fate.MOVED
    if sqlstate == "42883" and "core.require_place" in str(error):
        return Fate.WAIT  # the cell is not migrated yet: a new program waits for its database
    if sqlstate in _COLLIDED:
        return Fate.RUN_AGAIN
    if sqlstate is not None and (sqlstate in _ELSEWHERE or sqlstate.startswith(("57P", "08"))):
        return Fate.WAIT
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        connection_lost or sqlstate is None
    ):
        return Fate.WAIT
    return Fate.FINAL
