"""What an error says about its transaction: every kind, before and after COMMIT was sent."""

import psycopg
import pytest

from core_app.router_fate import Fate, UncertainCommit, decide_fate
from tests.integration.postgres.places import Pair, admin, until, value

LOST = psycopg.OperationalError("server closed the connection unexpectedly")
COLLISIONS = (
    psycopg.errors.SerializationFailure(),
    psycopg.errors.DeadlockDetected(),
    psycopg.errors.TransactionTimeout(),
    psycopg.errors.IdleInTransactionSessionTimeout(),
)
ELSEWHERE = (
    psycopg.errors.ReadOnlySqlTransaction(),
    psycopg.errors.AdminShutdown(),
    psycopg.errors.CrashShutdown(),
    psycopg.errors.CannotConnectNow(),
    psycopg.errors.InvalidAuthorizationSpecification(),
)


@pytest.mark.parametrize("error", [LOST, *ELSEWHERE], ids=lambda e: type(e).__name__)
def test_before_commit_a_lost_or_unfit_primary_means_not_done(error: psycopg.Error) -> None:
    assert decide_fate(error, commit_sent=False, connection_lost=True) is Fate.WAIT


@pytest.mark.parametrize("error", [LOST, *ELSEWHERE], ids=lambda e: type(e).__name__)
def test_after_commit_whatever_is_no_plain_error_is_unknown(error: psycopg.Error) -> None:
    assert decide_fate(error, commit_sent=True, connection_lost=True) is Fate.UNKNOWN


def test_a_commit_answered_with_a_warning_is_unknown() -> None:
    assert decide_fate(UncertainCommit(), commit_sent=True, connection_lost=False) is Fate.UNKNOWN


@pytest.mark.parametrize("error", COLLISIONS, ids=lambda e: type(e).__name__)
def test_a_collision_is_run_again(error: psycopg.Error) -> None:
    assert decide_fate(error, commit_sent=False, connection_lost=False) is Fate.RUN_AGAIN


@pytest.mark.parametrize("error", COLLISIONS[2:], ids=lambda e: type(e).__name__)
def test_a_limit_of_time_that_ends_the_session_after_commit_was_sent_is_unknown(error: psycopg.Error) -> None:
    assert decide_fate(error, commit_sent=True, connection_lost=True) is Fate.UNKNOWN


def test_a_broken_rule_of_the_data_is_the_callers() -> None:
    error = psycopg.errors.UniqueViolation()
    assert decide_fate(error, commit_sent=False, connection_lost=False) is Fate.FINAL


def test_commit_in_an_aborted_pipeline_was_not_done() -> None:
    error = psycopg.errors.PipelineAborted()
    assert decide_fate(error, commit_sent=True, connection_lost=False) is Fate.FINAL


async def test_an_error_that_the_server_gives_to_commit_itself_proves_the_roll_back(pair: Pair) -> None:
    await pair.make_primary()
    async with await admin(pair.idc) as conn:
        await conn.execute("create table one (n int unique deferrable initially deferred)")
        await conn.execute("begin")
        await conn.execute("insert into one values (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation) as refused:
            await conn.execute("commit")
    assert decide_fate(refused.value, commit_sent=True, connection_lost=False) is Fate.FINAL


async def test_an_end_by_the_administrator_after_commit_was_sent_is_unknown(pair: Pair) -> None:
    await pair.make_primary()
    async with await admin(pair.idc) as conn, await admin(pair.idc) as other:
        pid = await value(conn, "select pg_backend_pid()")
        await other.execute("select pg_terminate_backend(%s)", (pid,))

        async def gone() -> bool:
            return not await value(other, "select count(*) from pg_stat_activity where pid = %s", pid)

        await until(gone, "the session is ended")
        with pytest.raises(psycopg.OperationalError) as ended:
            await conn.execute("commit")
    assert decide_fate(ended.value, commit_sent=True, connection_lost=True) is Fate.UNKNOWN
