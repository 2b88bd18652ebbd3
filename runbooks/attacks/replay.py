"""Send a recorded attack to the real API, request by request, and say what stopped each."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core_app.yaml_documents import parse_yaml, read_text
from runbooks.attacks.recorded import ATTACK, Attack, Came, Recorded, fill, read_stops
from runbooks.drills.arrivals import make_person

FOLDER = Path(__file__).parent


class Target(Protocol):
    """The API under attack, and what only who owns it can do: make tokens, run the gang search."""

    async def send(self, method: str, path: str, token: str, key: str | None, body: Any) -> tuple[int, Any]:
        """Send one request; returns the status and what was answered."""

    def sign(self, who: str, customer_id: str) -> str:
        """Return a token of a `channel`, a `customer`, or a customer's that has `expired`."""

    async def search_gangs(self) -> None:
        """Find who hangs together, as staff do with `biyi risk gangs`."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """An attack and what came of each of its requests."""

    attack: Attack
    came: tuple[Came, ...]

    @property
    def holds(self) -> bool:
        """Say whether every request ended as it must."""
        return all(one.holds for one in self.came)

    def as_plain(self) -> dict[str, Any]:
        """Return it as JSON has it; no token, no person."""
        return {
            "attack": self.attack.id,
            "holds": self.holds,
            "sent": len(self.came),
            "stopped": sum(bool(one.stopped_by) for one in self.came),
            "requests": [
                {"place": one.place, "wanted": one.wanted, "stopped_by": one.stopped_by, "status": one.status}
                for one in self.came
            ],
        }


def read_attacks() -> tuple[Attack, ...]:
    """Return the recorded attacks, by file name; DocumentInvalid names a bad field."""
    return tuple(parse_yaml(file.name, read_text(file), ATTACK) for file in sorted(FOLDER.glob("*.yaml")))


async def replay(attack: Attack, target: Target, *, night: bool) -> Replayed:
    """Send all requests in order, each person and device new; none is left out when one ends otherwise."""
    run = uuid.uuid4()
    known = {"run": run.hex[:12], "wifi": ":".join(f"{n:02x}" for n in run.bytes[:6])}
    known["ip"] = f"10.{run.bytes[6]}.{run.bytes[7]}.{run.bytes[8]}"
    came = []
    for place, one in enumerate(attack.requests, 1):
        wanted = one.wanted(night=night)
        if one.search_gangs:
            await target.search_gangs()
            came.append(Came(place, wanted, (), 0))
            continue
        status, answer = await _send(one, target, known)
        came.append(Came(place, wanted, read_stops(status, answer), status))
        if one.person is not None and isinstance(answer, dict):
            known |= {f"{name}.{one.person}": v for name, v in answer.items() if isinstance(v, str)}
    return Replayed(attack, tuple(came))


async def _send(one: Recorded, target: Target, known: dict[str, str]) -> tuple[int, Any]:
    who, _, number = one.as_.partition(".")
    customer_id = known[f"customer_id.{number}"] if number else ""
    token = target.sign("customer" if who == "forged" else who, customer_id)
    if who == "forged":
        signed, _, mac = token.rpartition(".")  # its first letter: the last one has spare bits
        token = f"{signed}.{'1' if mac[0] == '0' else '0'}{mac[1:]}"
    body = fill(one.body, known)
    if one.person is not None:
        person = make_person(known["run"], one.person)
        body = {"name": person.name, "id_number": person.id_number, "phone": person.phone}
    key = None
    if one.method == "POST":
        key = f"attack-{known['run']}-{one.key or uuid.uuid4().hex[:12]}"
    return await target.send(one.method, fill(one.path, known), token, key, body)
