import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runbooks.stand.control import ask_border
from runbooks.stand.links import HEALED, LinkMode, LinkState
from tests.integration.stand.crossing import (
    Borders,
    FarServer,
    borders_in,
    connects_in_vain,
    crossing,
    pour,
    quiet,
    reset_on_close,
    until,
)

CUT, HOLE = LinkState(LinkMode.CUT), LinkState(LinkMode.HOLE)
SILENCE_S = 0.3
pytestmark = pytest.mark.timeout(30)


@pytest.fixture(params=["as it is", "tunnelled"])
async def borders(request: pytest.FixtureRequest) -> AsyncIterator[Borders]:
    async with running_borders(tunnelled=request.param == "tunnelled") as made:
        yield made


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Borders]:
    async with running_borders(tunnelled=False) as made:
        yield made


@contextlib.asynccontextmanager
async def running_borders(*, tunnelled: bool, on_the_way: bytearray | None = None) -> AsyncIterator[Borders]:
    """The near border, and the far one where a tunnel ends at it."""
    with tempfile.TemporaryDirectory(prefix="biyi-", dir="/tmp") as folder:
        made = borders_in(Path(folder), tunnelled=tunnelled)
        stack = contextlib.AsyncExitStack()
        try:
            for site in ("cloud", "idc") if tunnelled else ("idc",):
                await made.start(site)
                if site == "cloud" and on_the_way is not None:
                    await stack.enter_async_context(made.watched(on_the_way))
            yield made
        finally:
            await stack.aclose()
            made.stop()


async def test_bytes_cross_in_both_directions(borders: Borders):
    async with crossing(borders) as (far, reader, writer):
        writer.write(b"there")
        await until(lambda: far.heard == b"there", "the bytes arrive")
        far.writer.write(b"back")
        assert await reader.readexactly(4) == b"back"


async def test_a_megabyte_of_each_size_of_chunk_arrives_whole(borders: Borders):
    async with crossing(borders) as (far, _, writer):
        sent = bytes(range(256)) * 4096
        for size in (1, 1000, 100_000):
            for start in range(0, len(sent) if size > 1 else 5000, size):
                writer.write(sent[start : start + size])
        await writer.drain()
        whole = sent[:5000] + sent + sent
        await until(lambda: len(far.heard) == len(whole), "all bytes arrive")
        assert far.heard == whole


async def test_one_half_may_end_before_the_other(plain: Borders):
    async with crossing(plain) as (far, reader, writer):
        writer.write(b"question")
        writer.write_eof()
        await until(lambda: far.ended == "fin", "the end of the question arrives")
        far.writer.write(b"answer")
        far.writer.close()
        assert await reader.read() == b"answer"


async def test_a_reset_crosses_as_a_reset(plain: Borders):
    async with crossing(plain) as (far, reader, _):
        reset_on_close(far.writer)
        far.writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_server_that_is_down_looks_refused(borders: Borders):
    await connects_in_vain(borders)


async def test_a_receiver_that_does_not_read_holds_the_sender_back(borders: Borders):
    async with crossing(borders) as (far, _, writer):
        far.reader._transport.pause_reading()
        with pytest.raises(TimeoutError):  # so much never fits into the kernel's buffers and the border
            await pour(writer, megabytes=200, patience_s=2)
        writer.transport.abort()
        far.reader._transport.resume_reading()


@pytest.mark.parametrize("name", ["idc>cloud", "cloud>idc"])
async def test_a_cut_in_either_direction_resets_what_there_is(borders: Borders, name: str):
    async with crossing(borders) as (far, reader, _):
        borders.link(name, CUT)
        await borders.hears_it_break(reader)
        await until(lambda: far.ended in borders.ends(), "the far server sees the reset")


async def test_a_cut_refuses_what_is_new_until_it_is_healed(borders: Borders):
    borders.link("idc>cloud", CUT)
    await connects_in_vain(borders)
    borders.link("idc>cloud", HEALED)
    async with crossing(borders) as (far, _, writer):
        writer.write(b"again")
        await until(lambda: far.heard == b"again", "a new connection works")


async def test_a_cut_of_another_pair_does_no_harm(plain: Borders):
    async with crossing(plain) as (far, _, writer):
        plain.link("idc>witness", CUT)
        plain.link("witness>cloud", HOLE)
        writer.write(b"on")
        await until(lambda: far.heard == b"on", "the bytes arrive")


async def test_a_hole_keeps_bytes_and_delivers_them_once_healed(borders: Borders):
    async with crossing(borders) as (far, _, writer):
        borders.link("idc>cloud", HOLE)
        sent = bytes(range(256)) * 1000
        writer.write(sent)
        await asyncio.sleep(SILENCE_S)
        assert far.heard == b""
        borders.link("idc>cloud", HEALED)
        await until(lambda: len(far.heard) == len(sent), "held bytes arrive")
        assert far.heard == sent


async def test_a_hole_in_one_direction_leaves_the_other_alone(borders: Borders):
    async with crossing(borders) as (far, reader, writer):
        borders.link("cloud>idc", HOLE)
        writer.write(b"there")
        await until(lambda: far.heard == b"there", "bytes still go there")
        far.writer.write(b"back")
        answer = asyncio.ensure_future(reader.readexactly(4))
        assert await quiet(asyncio.shield(answer), SILENCE_S)
        borders.link("cloud>idc", HEALED)
        assert await answer == b"back"


async def test_bytes_that_a_delay_holds_survive_a_hole_in_order(borders: Borders):
    async with crossing(borders) as (far, _, writer):
        borders.link("idc>cloud", LinkState(delay_ms=150))
        for number in range(50):
            writer.write(b"%03d" % number)
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)  # they have to be on their way, and are not there yet
        borders.link("idc>cloud", HOLE)
        await asyncio.sleep(SILENCE_S)
        assert far.heard == b""
        borders.link("idc>cloud", HEALED)
        writer.write(b"end")
        await until(lambda: far.heard.endswith(b"end"), "all bytes arrive")
        assert far.heard == b"".join(b"%03d" % number for number in range(50)) + b"end"


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_hole_hides_the_end_of_the_server_until_it_is_healed(borders: Borders, how: str):
    async with crossing(borders) as (far, reader, _):
        borders.link("cloud>idc", HOLE)
        if how == "reset":
            reset_on_close(far.writer)
        far.writer.transport.abort()
        answer = asyncio.ensure_future(reader.read())
        assert await quiet(asyncio.shield(answer), SILENCE_S)
        borders.link("cloud>idc", HEALED)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(answer, 5) == b""


@pytest.mark.parametrize("name", ["idc>cloud", "cloud>idc"])
async def test_a_new_connection_into_a_hole_hears_nothing_until_it_is_healed(borders: Borders, name: str):
    far = FarServer()
    borders.link(name, HOLE)
    async with await borders.server(far):
        reader, writer = await borders.client()
        writer.write(b"hello")
        assert await quiet(reader.read(1), SILENCE_S)
        assert far.accepted == 0
        borders.link(name, HEALED)
        await until(lambda: far.heard == b"hello", "the connection is made after all")
        writer.close()
        far.writer.close()


async def test_clients_who_give_up_at_a_hole_leave_nothing_behind(borders: Borders):
    borders.link("idc>cloud", HOLE)
    for _ in range(20):
        _, writer = await borders.client()
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()
    await until(lambda: borders.link("idc>cloud", HOLE)["connections"] == 0, "the border forgets them")


async def test_a_delay_is_kept_by_direction(plain: Borders):
    async with crossing(plain) as (far, reader, writer):
        plain.link("idc>cloud", LinkState(delay_ms=200))
        begun = time.monotonic()
        writer.write(b"there")
        await until(lambda: far.heard == b"there", "the bytes arrive")
        there = time.monotonic() - begun
        begun = time.monotonic()
        far.writer.write(b"back")
        await reader.readexactly(4)
        assert there >= 0.19
        assert time.monotonic() - begun < 0.19


async def test_a_shorter_delay_does_not_let_bytes_overtake(plain: Borders):
    async with crossing(plain) as (far, _, writer):
        plain.link("idc>cloud", LinkState(delay_ms=200))
        writer.write(b"first")
        await asyncio.sleep(0.02)  # the chunk has to be on its way before the delay changes
        plain.link("idc>cloud", HEALED)
        writer.write(b"second")
        await until(lambda: len(far.heard) == 11, "both arrive")
        assert far.heard == b"firstsecond"


async def test_connecting_takes_a_round_trip_of_the_delays(borders: Borders):
    borders.link("idc>cloud", LinkState(delay_ms=100))
    borders.link("cloud>idc", LinkState(delay_ms=100))
    begun = time.monotonic()
    trips = 2 if borders.tunnelled else 1  # of TCP, and of the tunnel's TLS
    async with crossing(borders):
        assert time.monotonic() - begun >= 0.19 * trips


async def test_a_wrong_token_is_refused(plain: Borders):
    with pytest.raises(ValueError, match="wrong token"):
        ask_border(plain.control("idc"), "guess", {"links": {"idc>cloud": {"mode": "cut"}}})


async def test_a_bad_link_is_refused_and_changes_nothing(plain: Borders):
    with pytest.raises(ValueError, match="idc>moon"):
        ask_border(
            plain.control("idc"),
            plain.token,
            {"links": {"idc>cloud": {"mode": "cut"}, "idc>moon": {"mode": "cut"}}},
        )
    async with crossing(plain):
        pass


@pytest.mark.parametrize(
    "head", [b"CONNECT LOCALHOST:22 HTTP/1.1", b"GET / HTTP/1.1", b"CONNECT x HTTP/1.1", b"nonsense"]
)
async def test_the_connect_port_reaches_etcd_peers_and_nothing_else(plain: Borders, head: bytes):
    reader, writer = await plain.calling("border-connect", "etcd")
    writer.write(head + b"\r\nHost: x\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 403")
    writer.close()


async def test_a_connect_request_may_come_in_pieces_and_with_the_first_bytes(plain: Borders):
    far = FarServer()
    peer_port = plain.ports["witness/etcd-peer"]
    async with await asyncio.start_server(far.serve, "127.0.0.1", peer_port):
        reader, writer = await plain.calling("border-connect", "etcd")
        request = b"CONNECT LOCALHOST:%d HTTP/1.1\r\nHost: x\r\n\r\nfirst" % peer_port
        for byte in request:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await until(lambda: far.heard == b"first", "the first bytes arrive")
        writer.close()
        far.writer.close()


@pytest.mark.parametrize(("port", "kind"), [("border-connect", "agent"), ("border-tunnel", "etcd")])
async def test_a_border_hangs_up_on_whoever_has_no_business_there(plain: Borders, port: str, kind: str):
    reader, writer = await plain.calling(port, kind)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("line", [b"22\n", b"nonsense\n", b"x" * 17, b"\n"])
async def test_a_tunnel_leads_to_the_own_copies_and_nowhere_else(plain: Borders, line: bytes):
    reader, writer = await plain.calling("border-tunnel", "border")
    writer.write(line)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_what_crosses_a_tunnel_cannot_be_read_on_the_way():
    """A relay of the test's own stands where the network would be and keeps what passes."""
    seen = bytearray()
    async with (
        running_borders(tunnelled=True, on_the_way=seen) as borders,
        crossing(borders) as (far, _, writer),
    ):
        writer.write(b"the clear word" * 100)
        await until(lambda: far.heard == b"the clear word" * 100, "the bytes arrive")
        assert b"clear word" not in seen
        assert len(seen) > 1400


async def test_a_lost_site_sends_neither_fin_nor_reset_until_it_returns(borders: Borders):
    if "cloud" not in borders.processes:
        await borders.start("cloud")
    async with crossing(borders) as (far, _, writer):
        writer.write(b"last words")
        await until(lambda: bytes(far.heard) == b"last words", "the bytes arrive")
        for at in ("idc", "cloud"):
            borders.link("idc>cloud", HOLE, at)
            borders.link("cloud>idc", HOLE, at)
        given = ask_border(borders.control("idc"), borders.token, {"hand_over": True})
        borders.processes["idc"].kill()
        borders.processes["idc"].wait()
        await asyncio.sleep(SILENCE_S)
        assert (given["given"], far.ended) == (1, "")
        borders.link("idc>cloud", HEALED, "cloud")
        borders.link("cloud>idc", HEALED, "cloud")
        await until(lambda: far.ended in borders.ends(), "the returned site resets the old connection")
