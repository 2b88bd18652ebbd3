"""Between a bank's process and the platform's, over mutual TLS: what crosses the wire, byte by byte."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from core_app.decisions.training.federated import HouseRefused, Wire, asking_own_rows, average
from core_app.decisions.training.house import MOST_ASKS, House, make_design, read_terms
from core_app.decisions.training.released import compute_sums, pack_weights
from replication.tls import OPERATOR, Identity
from runbooks.federate import BANK, Door, open_bank
from runbooks.stand.certificates import tls_dir

SEED, ROWS = 11, 4_000
TERMS = read_terms()
SIZE = 1 + 2 * len(TERMS)
ZERO = np.zeros(SIZE)
CONTINUOUS = ("request.amount_share", "var.arrears_share", "bureau.score")


def tls_of(door: Door) -> ssl.SSLContext:
    made = Identity(tls_dir(door.home, "idc"), OPERATOR).to_partner(BANK)
    assert isinstance(made, ssl.SSLContext)
    return made


@dataclass
class Recorder:
    """Stands between both before TLS: plain to the platform, the platform's certificate to the bank."""

    door: Door
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    answered: list[bytes] = field(default_factory=list)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(self.door.url.rpartition(":")[2])
        there, back = await asyncio.open_connection("127.0.0.1", port, ssl=tls_of(self.door))
        try:
            await asyncio.gather(_copy(reader, back, self.asked), _copy(there, writer, self.answered))
        finally:
            for end in (back, writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: list[bytes]) -> None:
    while some := await source.read(65536):
        kept.append(some)
        sink.write(some)
        await sink.drain()
    sink.close()


@contextlib.asynccontextmanager
async def recorded(house: House, home: Path) -> AsyncIterator[tuple[Recorder, Wire]]:
    async with open_bank(house, home) as door:
        recorder = Recorder(door)
        server = await asyncio.start_server(recorder.pass_on, "127.0.0.1", 0)
        recorder.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession() as session:
            yield recorder, Wire(session, recorder.url, True)
        server.close()


def eights(recording: bytes) -> set[bytes]:
    return {recording[place : place + 8] for place in range(len(recording) - 7)}


async def test_what_crosses_the_wire_is_sums_of_one_length_and_no_value_of_any_row(tmp_path: Path) -> None:
    lengths: dict[int, set[int]] = {}
    for rows in (ROWS, 3 * ROWS):
        (tmp_path / f"rows-{rows}").mkdir()
        platform, bank = House(SEED, rows, 0), House(SEED, rows, 1)
        async with recorded(bank, tmp_path / f"rows-{rows}") as (recorder, wire):
            weights = await average(SIZE, (asking_own_rows(platform), wire.ask))
            assert wire.rounds > 3
        heads = b"".join(recorder.answered).split(b"HTTP/1.1 ")[1:]
        lengths[rows] = {len(head) for head in heads}
        assert len(heads) == wire.rounds
        assert len(b"".join(recorder.asked)) % wire.rounds == 0, "each question is as long as the others"
        people = bank.read_rows()
        design, outcome = make_design(TERMS, people), people.defaulted.astype(float)
        both = b"".join(recorder.asked) + b"\n" + b"".join(recorder.answered)
        crossed = eights(both)
        secret = {float(v) for name in CONTINUOUS for v in people.inputs[name] if not np.isnan(v)}
        place = {term.input: 1 + 2 * n for n, term in enumerate(TERMS)}
        secret |= {float(v) for name in CONTINUOUS for v in design[:, place[name]] if v}
        assert len(secret) > rows
        assert not {struct.pack(order, v) for v in secret for order in ("<d", ">d")} & crossed
        assert not any(repr(v).encode() in both for v in secret if len(repr(v)) > 8)
        # Every number of every answer is a sum over all rows, worked out a second way: nothing else is in it.
        last = heads[-1].partition(b"\r\n\r\n")[2]
        at = np.frombuffer(b"".join(recorder.asked)[-8 * SIZE :], "<f8")
        share = 1 / (1 + np.exp(-np.einsum("ij,j->i", design, at)))
        slope = np.einsum("ij,i->j", design, outcome - share)
        curve = np.einsum("ij,i,ik->jk", design, share * (1 - share), design, optimize=True)
        expected = np.concatenate([slope, curve[np.triu_indices(SIZE)]])
        assert np.allclose(np.frombuffer(last, "<f8"), expected, rtol=1e-6, atol=1e-6)
        assert weights.shape == (SIZE,)
    assert len(set.union(*lengths.values())) == 1, "an answer's length says nothing of the rows"


async def test_only_the_platform_is_let_in_and_only_a_partner_is_believed(
    tmp_path: Path,
) -> None:
    body = pack_weights(ZERO)
    async with open_bank(House(SEED, ROWS, 1), tmp_path) as door, aiohttp.ClientSession() as session:
        async with session.post(f"{door.url}/v1/sums", data=body, ssl=tls_of(door)) as answer:
            assert answer.status == 200
        nobody = ssl.create_default_context(cafile=tls_dir(door.home, "idc") / "current" / "partners.crt")
        nobody.check_hostname = False
        with pytest.raises((aiohttp.ClientError, OSError)):
            await session.post(f"{door.url}/v1/sums", data=body, ssl=nobody)
        payer = Identity(tls_dir(door.home, "idc"), "payer").to_partner(BANK)
        async with session.post(f"{door.url}/v1/sums", data=body, ssl=payer) as answer:
            assert answer.status == 403
        stranger = Identity(tls_dir(door.home, "idc"), OPERATOR).to(BANK)
        with pytest.raises(HouseRefused, match="ClientConnectorCertificateError"):
            await Wire(session, door.url, stranger).ask(ZERO)


async def test_a_bank_of_few_rows_refuses_and_its_refusal_shows_no_count(tmp_path: Path) -> None:
    async with recorded(House(SEED, 2, 1), tmp_path) as (recorder, wire):
        with pytest.raises(HouseRefused, match="bank: fewer than 500 rows"):
            await wire.ask(ZERO)
    assert b'"why": "fewer than 500 rows: sums over few rows show single ones"' in b"".join(recorder.answered)


async def test_a_bank_answers_only_so_often(tmp_path: Path) -> None:
    async with recorded(House(SEED, ROWS, 1), tmp_path) as (_, wire):
        first, _ = await wire.ask(ZERO)
        people = House(SEED, ROWS, 1).read_rows()
        assert np.allclose(first, compute_sums(make_design(TERMS, people), people.defaulted, ZERO)[0])
        for _ in range(MOST_ASKS - 1):
            await wire.ask(ZERO)
        with pytest.raises(HouseRefused, match="asked 30 times already"):
            await wire.ask(ZERO)
