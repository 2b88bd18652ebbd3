"""A border (real process) in front of a real server, and stands without agents for the tests."""

import asyncio
import contextlib
import datetime as dt
import json
import secrets
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from replication.tls import Identity
from runbooks.stand.certificates import ensure_certificates, tls_dir
from runbooks.stand.control import ask_border
from runbooks.stand.home import is_free
from runbooks.stand.links import LinkState, plain_links
from runbooks.stand.ports import choose_ports, needed_ports, socket_name

CELLS = {"a": "idc", "b": "cloud"}


async def until(holds: Callable[[], bool], what: str, patience_s: float = 5) -> None:
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, f"waited in vain that {what}"
        await asyncio.sleep(0.01)


@dataclass
class FarServer:
    """Server at the destination: keeps what it has read; the test speaks through `writer`."""

    heard: bytearray = field(default_factory=bytearray)
    ended: str = ""
    reading: bool = True
    accepted: int = 0
    writer: asyncio.StreamWriter | None = None
    reader: asyncio.StreamReader | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.reader, self.writer = reader, writer
        try:
            while self.reading and (data := await reader.read(65536)):
                self.heard += data
            self.ended = "fin"
        except ConnectionResetError:
            self.ended = "reset"


@dataclass
class Borders:
    """Borders of a stand that has nothing else; the far service is cloud's agent, or a copy in a tunnel."""

    home: Path
    stand_path: Path
    token: str
    ports: dict[str, int]
    tunnelled: bool = False
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    async def start(self, site: str) -> None:
        command = [
            sys.executable,
            "-m",
            "runbooks.stand.border",
            "--stand",
            str(self.stand_path),
            "--site",
            site,
            "--tls",
            str(tls_dir(self.home, site)),
            "--sockets",
            str(self.home),
        ]
        self.processes[site] = subprocess.Popen(command)
        await until(lambda: not is_free(self.control(site)), f"the border of {site} listens")

    def control(self, site: str) -> Path:
        return self.home / str(socket_name("border-control", self.ports[f"{site}/border-control"]))

    def link(self, name: str, state: LinkState, at: str = "idc") -> dict[str, object]:
        return ask_border(self.control(at), self.token, {"links": plain_links({name: state})})

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.tunnelled:
            return await asyncio.open_unix_connection(self.socket("idc/to/cloud/copy:a-cloud-0"))
        return await asyncio.open_connection("127.0.0.1", self.ports["idc/to/cloud/agent"])

    async def server(self, far: FarServer) -> asyncio.Server:
        if self.tunnelled:
            return await asyncio.start_unix_server(far.serve, self.socket("cloud/copy:a-cloud-0"))
        return await asyncio.start_server(far.serve, "127.0.0.1", self.ports["cloud/agent"])

    async def calling(self, port: str, kind: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Call a port of idc's border as a process of idc."""
        tls = Identity(tls_dir(self.home, "idc"), kind).to("border")
        return await asyncio.open_connection("127.0.0.1", self.ports[f"idc/{port}"], ssl=tls)

    @contextlib.asynccontextmanager
    async def watched(self, seen: bytearray) -> AsyncIterator[None]:
        """Put a listener in front of cloud's tunnel that keeps what passes; before idc's border starts."""
        real = self.ports["cloud/border-tunnel"]

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                seen.extend(data)
                writer.write(data)
            writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", real)
            try:
                with contextlib.suppress(OSError):
                    await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))
            finally:  # a reset of one half leaves the other reading
                await closed(writer, far_writer)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            plain = json.loads(self.stand_path.read_text())
            plain["ports"]["cloud/border-tunnel"] = server.sockets[0].getsockname()[1]
            self.stand_path.write_text(json.dumps(plain))
            yield

    def ends(self) -> set[str]:
        """How a server may see the end of a connection that was reset: Unix sockets know no reset."""
        return {"fin", "reset"} if self.tunnelled else {"reset"}

    async def hears_it_break(self, reader: asyncio.StreamReader) -> None:
        try:
            assert await reader.read() == b""
            how = "fin"
        except ConnectionResetError:
            how = "reset"
        assert how in self.ends()

    def socket(self, name: str) -> str:
        return str(self.home / f".s.PGSQL.{self.ports[name]}")

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def borders_in(directory: Path, *, tunnelled: bool = False) -> Borders:
    """`directory` is short: Unix sockets lie in it."""
    ensure_certificates(directory, dt.datetime.now(dt.UTC))
    token = secrets.token_hex(16)
    ports = choose_ports(needed_ports(CELLS, 2), 15_000 + secrets.randbelow(15_000), is_free)
    path = directory / "stand.json"
    path.write_text(json.dumps({"ports": ports, "control_token": token}))
    return Borders(directory, path, token, ports, tunnelled)


Crossed = tuple[FarServer, asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def crossing(borders: Borders) -> AsyncIterator[Crossed]:
    """One established connection from idc through its border to a server at cloud."""
    far = FarServer()
    server = await borders.server(far)
    reader, writer = await borders.client()
    try:
        await until(lambda: far.writer is not None, "the far server is reached")
        yield far, reader, writer
    finally:
        await closed(writer, *([far.writer] if far.writer else []))
        server.close()
        await server.wait_closed()


async def closed(*writers: asyncio.StreamWriter) -> None:
    for each in writers:
        each.close()
        with contextlib.suppress(OSError):
            await each.wait_closed()


async def quiet(awaited: Awaitable[bytes], seconds: float) -> bool:
    """True when nothing comes within the time: silence can only be observed by waiting."""
    try:
        await asyncio.wait_for(awaited, seconds)
    except TimeoutError:
        return True
    return False


async def pour(writer: asyncio.StreamWriter, megabytes: int, patience_s: float) -> None:
    """Send; TimeoutError when the other side does not take it all in time."""
    async with asyncio.timeout(patience_s):
        for _ in range(megabytes):
            writer.write(bytes(1 << 20))
            await writer.drain()


async def connects_in_vain(borders: Borders) -> None:
    try:
        reader, writer = await borders.client()
    except ConnectionResetError:
        return
    try:
        await borders.hears_it_break(reader)
    finally:
        writer.close()


def reset_on_close(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
