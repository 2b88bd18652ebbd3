"""Identities against each other over real TLS, on asyncio's own loop and on uvloop."""

import asyncio
import datetime as dt
import logging
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop

from replication.tls import CURRENT, LOADED, OPERATOR, Identity, open_identity, stamp_of
from runbooks.stand.certificates import (
    RENEW_BEFORE,
    VALID,
    ensure_certificates,
    issue,
    issue_one,
    put_in_force,
    revoke_older,
    tls_dir,
)

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    ensure_certificates(home, now())
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "home", symlinks=True)
    return tmp_path / "home"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., str]:
    def run_one(work: object) -> str:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return str(runner.run(work))  # type: ignore[arg-type]

    return run_one


@dataclass
class Served:
    port: int


@asynccontextmanager
async def serving(identity: Identity) -> AsyncIterator[Served]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"in")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=identity.serving())
    async with server:
        yield Served(server.sockets[0].getsockname()[1])


async def call(served: Served, caller: Identity, holder: str = "agent") -> str:
    """Return what is heard: `in`, or OpenSSL's words."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=caller.to(holder))
            heard = await reader.read()
            writer.close()
            return heard.decode() or "closed"
    except ssl.SSLError as error:
        return getattr(error, "verify_message", "") or str(error.reason)


def agent(home: Path) -> Identity:
    return Identity(tls_dir(home, "cloud"), "agent")


def operator(home: Path) -> Identity:
    return Identity(tls_dir(home, "idc"), OPERATOR)


def test_a_caller_gets_to_the_holder_it_wants_and_to_no_other(home: Path, run: Callable[..., str]):
    async def work() -> str:
        async with serving(agent(home)) as served:
            found = [await call(served, operator(home), to) for to in ("agent", "agent.cloud", "agent.idc")]
            return " | ".join([*found, await call(served, operator(home), "etcd")])

    good, same, other_site, other_kind = run(work()).split(" | ")
    assert (good, same) == ("in", "in")
    assert "agent.idc.biyi" in other_site
    assert "etcd.biyi" in other_kind


def test_a_renewed_certificate_is_used_by_contexts_that_live_and_the_revoked_one_is_refused(
    home: Path, run: Callable[..., str]
):
    async def work() -> str:
        server, before, after = agent(home), operator(home), operator(home)
        async with serving(server) as served:
            heard = [await call(served, before)]
            put_in_force(home, issue(home, now()))
            assert server.refresh()
            assert after.refresh()
            heard += [await call(served, before), await call(served, after)]
            revoke_older(home, now())
            assert server.refresh()
            return " ".join([*heard, await call(served, before), await call(served, after)])

    assert run(work()) == "in in in SSLV3_ALERT_CERTIFICATE_REVOKED in"


def test_a_server_with_a_revoked_certificate_is_refused(home: Path, run: Callable[..., str]):
    async def work() -> str:
        async with serving(agent(home)) as served:  # its process stands still and looks no more
            put_in_force(home, issue(home, now()))
            revoke_older(home, now())
            return await call(served, operator(home))

    assert "revoked" in run(work())


def test_an_expired_certificate_is_refused_on_both_sides_in_so_many_words(
    home: Path, run: Callable[..., str], caplog: pytest.LogCaptureFixture
):
    folder = (tls_dir(home, "idc") / CURRENT).resolve()
    issue_one(home, folder, ("idc", OPERATOR), now(), dt.timedelta(days=-1))

    async def work() -> str:
        async with serving(agent(home)) as served:
            return await call(served, operator(home))

    with caplog.at_level(logging.WARNING):
        assert run(work()) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    assert "a caller was refused: certificate has expired" in caplog.text


def test_a_server_with_an_expired_certificate_is_refused(home: Path, run: Callable[..., str]):
    folder = (tls_dir(home, "cloud") / CURRENT).resolve()
    issue_one(home, folder, ("cloud", "agent"), now(), dt.timedelta(days=-1))

    async def work() -> str:
        async with serving(agent(home)) as served:
            return await call(served, operator(home))

    assert run(work()) == "certificate has expired"


@pytest.mark.parametrize(
    ("newest", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
    ],
    ids=["old protocol", "no authenticated encryption"],
)
@pytest.mark.parametrize("oldest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_no_server_of_ours_goes_below_its_limits(
    home: Path, newest: ssl.TLSVersion, ciphers: str, oldest: ssl.TLSVersion
):
    """With a certificate that is let in without the limit, so that nothing else refuses."""
    own = tls_dir(home, "idc") / CURRENT / f"{OPERATOR}.crt"

    def caller(limited: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(own, own.with_suffix(".key"))
        if limited:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.set_ciphers(ciphers)
            context.maximum_version = newest
        return context

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"in")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=agent(home).serving(oldest))
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=caller(limited=False))
        assert await reader.read() == b"in"
        writer.close()
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=caller(limited=True))


def test_a_bank_is_believed_by_its_own_authority_and_never_as_one_of_ours(
    home: Path, run: Callable[..., str]
):
    payer, bank = Identity(tls_dir(home, "idc"), "payer"), Identity(tls_dir(home, "outside"), "bank_a")

    async def work() -> str:
        async with serving(bank) as served, serving(agent(home)) as ours:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", served.port, ssl=payer.to_partner("bank_a")
            )
            heard = [(await reader.read()).decode()]
            writer.close()
            heard += [await call(served, payer, "bank_a")]
            return " | ".join([*heard, await call(ours, bank, "agent")])

    good, as_ours, into_ours = run(work()).split(" | ")
    assert good == "in"
    assert "unable to get local issuer certificate" in as_ours
    assert into_ours in ("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE")


async def test_a_running_process_says_what_it_has_taken_over(home: Path):
    folder = tls_dir(home, "idc")
    async with open_identity(folder, "agent"):
        await asyncio.sleep(0)
        put_in_force(home, issue(home, now()))
        async with asyncio.timeout(5):
            while (folder / LOADED / "agent").read_text() != stamp_of(folder):
                await asyncio.sleep(0.02)


async def test_half_a_renewal_leaves_the_old_certificate_in_use(home: Path, caplog: pytest.LogCaptureFixture):
    folder = tls_dir(home, "idc")
    async with open_identity(folder, "agent") as identity:
        identity.to("agent")
        await asyncio.sleep(0)
        before = (folder / LOADED / "agent").read_text()
        number = issue(home, now())
        (folder / str(number) / "agent.key").write_text("")
        put_in_force(home, number)
        async with asyncio.timeout(5):
            while "the old ones stay" not in caplog.text:
                await asyncio.sleep(0.02)
        assert (folder / LOADED / "agent").read_text() == before


def test_nothing_is_renewed_while_all_is_valid_for_long_enough_and_everything_after(tmp_path: Path):
    ensure_certificates(tmp_path, NOW)
    first = stamp_of(tls_dir(tmp_path, "idc"))
    ensure_certificates(tmp_path, NOW + VALID - RENEW_BEFORE - dt.timedelta(seconds=1))
    assert stamp_of(tls_dir(tmp_path, "idc")) == first
    ensure_certificates(tmp_path, NOW + VALID - RENEW_BEFORE)
    assert stamp_of(tls_dir(tmp_path, "idc")) != first


def test_a_lost_certificate_is_made_again(tmp_path: Path):
    ensure_certificates(tmp_path, NOW)
    (tls_dir(tmp_path, "witness") / CURRENT / "etcd.crt").unlink()
    ensure_certificates(tmp_path, NOW)
    assert (tls_dir(tmp_path, "witness") / CURRENT / "etcd.crt").exists()


def test_without_a_directory_all_is_plain():
    plain = Identity(None, "agent")
    assert (plain.to("etcd"), plain.to_partner("bank_a")) == (True, True)
    assert (plain.serving(), plain.serving_the_public(), plain.refresh()) == (None, None, False)
