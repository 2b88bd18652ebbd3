"""The border of one site: every byte that leaves it for another site passes here.

`python -m runbooks.stand.border --stand <stand.json> --site <site>`. Listens on one port for each
service of each other site (relays), on one for CONNECT (etcd peers: the destination is known by the
port in the request line), and on a control port (see `control.py`). Each border keeps the whole link
table. Standard library and, where there is one, uvloop: it has to start fast.
"""

import argparse
import asyncio
import contextlib
import hmac
import json
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, cast

from runbooks.stand.handover import HandedOver, hand_over, open_handover
from runbooks.stand.links import ALL_LINKS, LinkMode, LinkTable, link_name, parse_links, read_links
from runbooks.stand.ports import Relay, peers_of, relays_of
from runbooks.stand.relay import Crossing, End, Link, reset_transport, tune_transport

MAX_CROSSINGS = 4096
"""Connections a border carries at once; more are reset. Source: our choice, above any load here."""
CONNECT_PATIENCE_S = 5.0
"""Patience with a destination on the same machine. Source: our choice."""
_HEADER_LIMIT_BYTES = 8192


class Border:
    """Links, living connections and listeners of one site's border."""

    def __init__(self, site: str, table: LinkTable) -> None:
        self.site = site
        self.links = {name: Link(name) for name in ALL_LINKS}
        self.table: LinkTable = {}
        self.crossings: dict[Crossing, asyncio.Task[None]] = {}
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
        reach = self._reach(crossing, relay.target_port)
        self.crossings[crossing] = asyncio.get_running_loop().create_task(reach)
        return end

    async def _reach(self, crossing: Crossing, port: int) -> None:
        """Connect to the far end as TCP would: no answer through a hole, a round trip of delay."""
        forward, back = crossing.forward.link, crossing.back.link
        while crossing.holed:
            waits = [asyncio.ensure_future(link.changed.wait()) for link in (forward, back)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if pause_s := forward.delay_s + back.delay_s:
            await asyncio.sleep(pause_s)
        try:
            async with asyncio.timeout(CONNECT_PATIENCE_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: End(crossing, crossing.back, crossing.forward), "127.0.0.1", port
                )
        except (OSError, TimeoutError):
            crossing.reset()

    def _forget(self, crossing: Crossing) -> None:
        task = self.crossings.pop(crossing, None)
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


class ConnectDoor(asyncio.Protocol):
    """Protocol of a newly accepted connection on the CONNECT port, until its request line is known."""

    def __init__(self, border: Border, peers: Mapping[int, str]) -> None:
        self.border, self.peers = border, peers
        self.header = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the destination is not known yet."""
        self.client = cast(asyncio.Transport, transport)
        tune_transport(self.client)

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


async def run_border(stand: Mapping[str, Any], site: str, links_path: Path) -> None:
    """Listen on all ports of the border until SIGTERM; OSError when a port is taken."""
    loop = asyncio.get_running_loop()
    ports: dict[str, int] = stand["ports"]
    border = Border(site, read_links(links_path))
    names = handover_names(stand)
    border.handed_over = open_handover(names[site], loop)
    peers = peers_of(ports, site)
    doors: list[tuple[int, Callable[[], asyncio.BaseProtocol]]] = [
        (relay.listen_port, lambda relay=relay: Door(border, relay))  # type: ignore[misc]
        for relay in relays_of(ports, site)
    ]
    doors.append((ports[f"{site}/border-connect"], lambda: ConnectDoor(border, peers)))
    servers = [await loop.create_server(door, "127.0.0.1", port, backlog=512) for port, door in doors]
    control = control_server(border, stand["control_token"], names)
    control_port = ports[f"{site}/border-control"]
    servers.append(
        await asyncio.start_server(control, "127.0.0.1", control_port)
    )  # last: it says we are ready
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for server in servers:
        server.close()


def main() -> None:
    """Run the border named on the command line."""
    parser = argparse.ArgumentParser(description="Border relay of one site of the stand.")
    parser.add_argument("--stand", type=Path, required=True)
    parser.add_argument("--site", required=True)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stand = json.loads(arguments.stand.read_text())
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        from uvloop import new_event_loop as loop_factory
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(run_border(stand, arguments.site, arguments.stand.parent / "links.json"))
        except OSError as error:
            sys.exit(f"border of {arguments.site}: {error}; `biyi stand up --fresh` chooses other ports")


if __name__ == "__main__":
    main()
