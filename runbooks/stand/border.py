"""The border of one site: every byte that leaves it for another site passes here.

`python -m runbooks.stand.border --stand <stand.json> --site <site> --tls <directory> --sockets <directory>`.
Listens on one port, or Unix socket, for each service of each other site (relays), on one for CONNECT (etcd
peers: the destination is known by the port in the request line), on one for tunnels from the other sites'
borders to its own copies, and on a control socket (see `control.py`). Each border keeps the whole link
table. Standard library and, where there is one, uvloop: it has to start fast.
"""

import argparse
import asyncio
import contextlib
import hmac
import json
import os
import pwd
import resource
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from replication.memory import settle_memory
from replication.tls import Identity, holder_of, kind_of, open_identity
from runbooks.stand.handover import HandedOver, hand_over, open_handover
from runbooks.stand.links import ALL_LINKS, LinkMode, LinkTable, link_name, parse_links, read_links
from runbooks.stand.ports import Relay, own_copies, peers_of, relays_of, socket_name
from runbooks.stand.relay import Crossing, End, Link, reset_transport, tune_transport

MAX_CROSSINGS = 4096
"""Connections a border carries at once; more are reset. Source: our choice, above any load here."""
CONNECT_PATIENCE_S = 5.0
"""Patience with a destination on the same machine. Source: our choice."""
BACKLOG = 512
LOOPBACK = "127.0.0.1"
_HEADER_LIMIT_BYTES = 8192
_LINE_LIMIT_BYTES = 16


class Border:
    """Links, living connections and listeners of one site's border."""

    def __init__(self, site: str, table: LinkTable, identity: Identity) -> None:
        self.site = site
        self.identity = identity
        self.links = {name: Link(name) for name in ALL_LINKS}
        self.table: LinkTable = {}
        self.crossings: dict[Crossing, asyncio.Task[None]] = {}
        self.arrivals: dict[Crossing, asyncio.Task[None]] = {}
        """Tunnels from other sites: their own border rules them."""
        self.inside = Link("inside")
        self.handed_over: HandedOver | None = None
        self.apply(table)

    def apply(self, table: LinkTable) -> None:
        """Take on the given states; links that are not named stay as they are."""
        self.table |= table
        for name, state in table.items():
            self.links[name].become(state)
        if self.handed_over is not None:
            self.handed_over.release(lambda name: self.links[name].mode is not LinkMode.HOLE)

    def admit(self, client: asyncio.Transport, relay: Relay, greeting: bytes) -> End | None:
        """Begin to carry `client` to the relay's target; None when its link is cut or the border full."""
        links = (
            self.links[link_name(self.site, relay.destination)],
            self.links[link_name(relay.destination, self.site)],
        )
        if len(self.crossings) >= MAX_CROSSINGS or LinkMode.CUT in (links[0].mode, links[1].mode):
            reset_transport(client)
            return None
        crossing = Crossing(links, relay.destination, self._forget)
        end = crossing.take_client(client)
        crossing.greeting = greeting
        reach = self._reach(crossing, relay)
        self.crossings[crossing] = asyncio.get_running_loop().create_task(reach)
        return end

    def welcome(self, client: asyncio.Transport, path: str) -> End:
        """Carry a tunnel that has arrived from another site on to a copy's Unix socket."""
        crossing = Crossing((self.inside, self.inside), self.site, self._forget)
        end = crossing.take_client(client)
        self.arrivals[crossing] = asyncio.get_running_loop().create_task(self._reach_copy(crossing, path))
        return end

    async def _reach_copy(self, crossing: Crossing, path: str) -> None:
        try:
            async with asyncio.timeout(CONNECT_PATIENCE_S):
                await asyncio.get_running_loop().create_unix_connection(
                    lambda: End(crossing, crossing.back, crossing.forward), path
                )
        except (OSError, TimeoutError):
            crossing.reset()

    async def _reach(self, crossing: Crossing, relay: Relay) -> None:
        """Connect to the far end as TCP would: no answer through a hole, a round trip of delay.

        A tunnel costs a second round trip, that of the TLS handshake, which the border makes itself.
        """
        forward, back = crossing.forward.link, crossing.back.link
        while crossing.holed:
            waits = [asyncio.ensure_future(link.changed.wait()) for link in (forward, back)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if pause_s := (forward.delay_s + back.delay_s) * (1 if relay.tunnel_port is None else 2):
            await asyncio.sleep(pause_s)
        port, tls, first = relay.target_port, None, b""
        if relay.tunnel_port is not None:
            port, tls = relay.tunnel_port, self.identity.to(f"border.{relay.destination}")
            first = b"%d\n" % relay.target_port
        try:
            async with asyncio.timeout(CONNECT_PATIENCE_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: End(crossing, crossing.back, crossing.forward, first), "127.0.0.1", port, ssl=tls
                )
        except (OSError, TimeoutError):
            crossing.reset()

    def _forget(self, crossing: Crossing) -> None:
        task = self.crossings.pop(crossing, None) or self.arrivals.pop(crossing, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def hand_over(self, names: Mapping[str, str]) -> int:
        """Give the far ends of all connections to their sites' borders, to be kept open in silence.

        Called when this site is about to be lost: a lost site sends neither FIN nor RST, but the
        kernel would, for each socket that only this process holds. Returns how many were given.
        """
        sockets: dict[str, list[int]] = {}
        for crossing in self.crossings:
            if crossing.connected and crossing.forward.sink is not None:
                descriptor = crossing.forward.sink.get_extra_info("socket").fileno()
                sockets.setdefault(crossing.destination, []).append(descriptor)
        return sum(hand_over(names[to], self.site, each) for to, each in sockets.items())


class Door(asyncio.Protocol):
    """Protocol of a newly accepted connection on a relay's port."""

    def __init__(self, border: Border, relay: Relay) -> None:
        self.border, self.relay = border, relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in and hand it to its End."""
        client = cast(asyncio.Transport, transport)
        tune_transport(client)
        end = self.border.admit(client, self.relay, b"")
        if end is not None:
            client.set_protocol(end)


class TunnelDoor(asyncio.Protocol):
    """Protocol of a tunnel that has arrived from another site's border, until it has named its copy."""

    def __init__(self, border: Border, copies: Mapping[int, str]) -> None:
        self.border, self.copies = border, copies
        self.header = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport if a border called; others with a certificate have no business here."""
        self.client = cast(asyncio.Transport, transport)
        tune_transport(self.client)
        if kind_of(holder_of(self.client.get_extra_info("peercert"))) != "border":
            reset_transport(self.client)

    def data_received(self, data: bytes) -> None:
        """Collect the line that names the copy, then turn into a crossing."""
        self.header += data
        line, end_of_line, rest = self.header.partition(b"\n")
        path = self.copies.get(int(line)) if end_of_line and line.isdigit() else None
        if path is not None:
            end = self.border.welcome(self.client, path)
            self.client.set_protocol(end)
            if rest:
                end.data_received(rest)
        elif end_of_line or len(self.header) > _LINE_LIMIT_BYTES:
            reset_transport(self.client)


class ConnectDoor(asyncio.Protocol):
    """Protocol of a newly accepted connection on the CONNECT port, until its request line is known."""

    def __init__(self, border: Border, peers: Mapping[int, str]) -> None:
        self.border, self.peers = border, peers
        self.header = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport if etcd called; the destination is not known yet."""
        self.client = cast(asyncio.Transport, transport)
        tune_transport(self.client)
        if kind_of(holder_of(self.client.get_extra_info("peercert"))) != "etcd":
            reset_transport(self.client)

    def data_received(self, data: bytes) -> None:
        """Collect the request's head, then turn into a plain crossing."""
        self.header += data
        head, end_of_head, rest = self.header.partition(b"\r\n\r\n")
        if not end_of_head:
            if len(self.header) > _HEADER_LIMIT_BYTES:
                reset_transport(self.client)
            return
        words = head.split(b"\r\n")[0].split()
        port_text = words[1].rpartition(b":")[2] if len(words) == 3 and words[0] == b"CONNECT" else b""
        destination = self.peers.get(int(port_text)) if port_text.isdigit() else None
        if destination is None:
            self.client.write(b"HTTP/1.1 403 Not an etcd peer of another site\r\nContent-Length: 0\r\n\r\n")
            self.client.close()
            return
        relay = Relay(0, destination, int(port_text))
        end = self.border.admit(self.client, relay, b"HTTP/1.1 200 Connection established\r\n\r\n")
        if end is not None:
            self.client.set_protocol(end)
            if rest:
                end.data_received(rest)


def answer_control(border: Border, names: Mapping[str, str], request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one control request and return its answer; ValueError for a bad link table."""
    if "links" in request:
        border.apply(parse_links(request["links"]))
    given = border.hand_over(names) if request.get("hand_over") else 0
    kept = border.handed_over.count if border.handed_over else 0
    return {"site": border.site, "connections": len(border.crossings), "given": given, "kept": kept}


def control_server(
    border: Border, token: str, names: Mapping[str, str]
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
    """Return the handler of control connections: one JSON line in, one out, then closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(2):
                request = json.loads(await reader.readline())
                if not hmac.compare_digest(str(request.get("token", "")), token):
                    raise ValueError("wrong token")
                writer.write(json.dumps(answer_control(border, names, request)).encode() + b"\n")
        except (ValueError, TypeError, AttributeError) as error:
            writer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        except (OSError, TimeoutError):
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return serve


def handover_names(stand: Mapping[str, Any]) -> dict[str, str]:
    """Return the address at which each site's border takes sockets over."""
    mark = str(stand["control_token"])[:16]
    return {site: f"\0biyi-{mark}-{site}" for site in ("idc", "cloud", "witness")}


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a border stands: the stand's description, its site, its files."""

    stand: Mapping[str, Any]
    site: str
    links_path: Path
    tls_dir: Path
    sockets: Path

    @property
    def ports(self) -> dict[str, int]:
        """Return the number of every port and socket of the stand."""
        return dict(self.stand["ports"])


async def run_border(ground: Ground) -> None:
    """Listen on all ports of the border until SIGTERM; OSError when a port is taken."""
    loop = asyncio.get_running_loop()
    async with open_identity(ground.tls_dir, "border") as identity:
        border = Border(ground.site, read_links(ground.links_path), identity)
        names = handover_names(ground.stand)
        border.handed_over = open_handover(names[ground.site], loop)
        servers = await _open_doors(ground, border)
        control = control_server(border, ground.stand["control_token"], names)
        servers.append(await asyncio.start_unix_server(control, _socket(ground, "border-control")))
        stopped = asyncio.Event()  # the control socket came last: it says we are ready
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        await stopped.wait()
        for server in servers:
            server.close()


async def _open_doors(ground: Ground, border: Border) -> list[asyncio.AbstractServer]:
    """Open the relays, the CONNECT port, and the tunnel's port where there are copies."""
    loop, ports, site = asyncio.get_running_loop(), ground.ports, ground.site
    servers: list[asyncio.AbstractServer] = []
    for relay in relays_of(ports, site):
        door = partial(Door, border, relay)
        if relay.tunnel_port is None:
            servers.append(await loop.create_server(door, LOOPBACK, relay.listen_port, backlog=BACKLOG))
            continue
        path = ground.sockets / f".s.PGSQL.{relay.listen_port}"
        servers.append(await loop.create_unix_server(door, path, backlog=BACKLOG))
        path.chmod(0o600)
        if user := ground.stand.get("run_as"):
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)  # the standby's server calls here too
    tls = {
        "border-connect": border.identity.serving(ssl.TLSVersion.TLSv1_2),
        "border-tunnel": border.identity.serving(),
    }
    connect = partial(ConnectDoor, border, peers_of(ports, site))
    tunnelled = {port: str(ground.sockets / f".s.PGSQL.{port}") for port in own_copies(ports, site)}
    doors: list[tuple[str, Callable[[], asyncio.BaseProtocol]]] = [("border-connect", connect)]
    if tunnelled:
        doors.append(("border-tunnel", partial(TunnelDoor, border, tunnelled)))
    for name, make in doors:
        port = ports[f"{site}/{name}"]
        servers.append(await loop.create_server(make, LOOPBACK, port, backlog=BACKLOG, ssl=tls[name]))
    return servers


def _socket(ground: Ground, service: str) -> str:
    name = socket_name(service, ground.ports[f"{ground.site}/{service}"])
    return str(ground.sockets / str(name))


def main() -> None:
    """Run the border named on the command line."""
    parser = argparse.ArgumentParser(description="Border relay of one site of the stand.")
    for name in ("stand", "tls", "sockets"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--site", required=True)
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stand = json.loads(given.stand.read_text())
    ground = Ground(stand, given.site, given.stand.parent / "links.json", given.tls, given.sockets)
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as loop_factory
    settle_memory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(run_border(ground))
        except OSError as error:
            sys.exit(f"border of {ground.site}: {error}; `biyi stand up --fresh` chooses other ports")


if __name__ == "__main__":
    main()
