"""A border (real process) in front of a real server, and stands without agents for the tests."""

import asyncio
import contextlib
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

from runbooks.stand.control import ask_border
from runbooks.stand.home import is_free
from runbooks.stand.links import LinkState, plain_links
from runbooks.stand.ports import choose_ports, needed_ports

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
    """Borders of a stand that has nothing else; the far service is cloud's agent."""

    stand_path: Path
    token: str
    ports: dict[str, int]
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
        ]
        self.processes[site] = subprocess.Popen(command)
        port = self.ports[f"{site}/border-control"]
        await until(lambda: not is_free(port), f"the border of {site} listens")

    def link(self, name: str, state: LinkState, at: str = "idc") -> dict[str, object]:
        port = self.ports[f"{at}/border-control"]
        return ask_border(port, self.token, {"links": plain_links({name: state})})

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.ports["idc/to/cloud/agent"])

    async def server(self, far: FarServer) -> asyncio.Server:
        return await asyncio.start_server(far.serve, "127.0.0.1", self.ports["cloud/agent"])

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def borders_in(directory: Path) -> Borders:
    token = secrets.token_hex(16)
    ports = choose_ports(needed_ports(CELLS, 2), 15_000 + secrets.randbelow(15_000), is_free)
    path = directory / "stand.json"
    path.write_text(json.dumps({"ports": ports, "control_token": token}))
    return Borders(path, token, ports)


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
        for each in (writer, far.writer):
            if each is not None:
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()
        server.close()
        await server.wait_closed()


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


async def connect_and_read(borders: Borders) -> bytes:
    reader, writer = await borders.client()
    try:
        return await reader.read()
    finally:
        writer.close()


def reset_on_close(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
