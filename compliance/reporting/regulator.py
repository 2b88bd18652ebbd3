"""The port to a regulator: what it can be told and asked, and the fake that stands for it.

A batch is known by its id. Telling it twice must not file it twice; whoever lost an answer asks for the
batch's state before telling it again. No official interface was at hand: the fake is ours, the port the least
that the literature agrees on (receipt at once, feedback later, by batch).
"""

import enum
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from compliance.reporting.errors import RegulatorSilent


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of a feedback file: what is wrong with which field of which row; empty where it is of more."""

    table: str
    key: str
    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a regulator says of a batch: `state` received, accepted or rejected, `remarks` its feedback."""

    state: str
    receipt: str
    sm3: str
    note: str = ""
    remarks: tuple[Remark, ...] = ()


class Regulator(Protocol):
    """Takes batches and tells what became of them."""

    async def submit(self, batch_id: str, manifest: Mapping[str, Any]) -> Answer:
        """Hand a batch over; RegulatorSilent when no answer came: it may have it or not.

        The same batch again gets the same receipt; another content under its id is rejected.
        """

    async def find(self, batch_id: str) -> Answer | None:
        """Return what is known of a batch, None when it never arrived; RegulatorSilent without an answer."""


class Fault(enum.StrEnum):
    """What the fake does wrong, once each time it is asked for."""

    REJECT = "reject"
    TIME_OUT = "time_out"
    """Takes nothing and does not answer."""
    LOSE_ANSWER = "lose_answer"
    """Takes the batch and does not answer."""
    ANSWER_TWICE = "answer_twice"
    """Answers a submission as if it had been told before, too."""
    LATE = "late"
    """Receives, and decides only when asked again."""


class FakeRegulator:
    """A regulator in a directory outside both sites: one file a batch, written once. Not a real interface.

    `faults` gives what goes wrong next, None for nothing; a rejection says `remarks`.
    """

    def __init__(
        self, folder: Path, faults: Callable[[], Fault | None] = lambda: None, remarks: Sequence[Remark] = ()
    ) -> None:
        self._folder = folder
        self._faults = faults
        self._remarks = tuple(remarks)

    async def submit(self, batch_id: str, manifest: Mapping[str, Any]) -> Answer:
        """Take a batch, or do what the next fault says."""
        fault = self._faults()
        if fault is Fault.TIME_OUT:
            raise RegulatorSilent(f"{batch_id}: no answer")
        known = self._read(batch_id)
        sm3 = str(manifest["sm3"])
        if known is None:
            state = {Fault.REJECT: "rejected", Fault.LATE: "received"}.get(fault, "accepted")  # type: ignore[arg-type]
            note = "format: rejected by the fake" if fault is Fault.REJECT else ""
            known = {"state": state, "receipt": f"R-{secrets.token_hex(8)}", "sm3": sm3, "note": note}
            known["remarks"] = [asdict(one) for one in self._remarks] if fault is Fault.REJECT else []
            self._write(batch_id, known, manifest)
        elif known["sm3"] != sm3:
            return Answer("rejected", known["receipt"], sm3, "another content was filed under this id")
        if fault is Fault.LOSE_ANSWER:
            raise RegulatorSilent(f"{batch_id}: no answer")
        answer = _answer(known, known["state"])
        return await self.submit(batch_id, manifest) if fault is Fault.ANSWER_TWICE else answer

    async def find(self, batch_id: str) -> Answer | None:
        """Tell what became of a batch; one that was only received is decided by now."""
        if self._faults() is Fault.TIME_OUT:
            raise RegulatorSilent(f"{batch_id}: no answer")
        known = self._read(batch_id)
        if known is None:
            return None
        state = "accepted" if known["state"] == "received" else known["state"]
        return _answer(known, state)

    def filed(self) -> dict[str, str]:
        """Return every batch that the regulator has, and the hash of what was filed under its id."""
        return {
            path.stem: json.loads(path.read_text(encoding="utf-8"))["known"]["sm3"]
            for path in sorted(self._folder.glob("*.json"))
        }

    def _read(self, batch_id: str) -> dict[str, Any] | None:
        try:
            known: dict[str, Any] = json.loads(self._path(batch_id).read_text(encoding="utf-8"))["known"]
        except FileNotFoundError:
            return None
        return known

    def _write(self, batch_id: str, known: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"known": dict(known), "manifest": dict(manifest)}, ensure_ascii=False)
        with self._path(batch_id).open("x", encoding="utf-8") as file:  # once: a second filing is an error
            file.write(text)

    def _path(self, batch_id: str) -> Path:
        return self._folder / f"{batch_id}.json"


def _answer(known: Mapping[str, Any], state: str) -> Answer:
    remarks = tuple(Remark(**one) for one in known["remarks"])
    return Answer(state, known["receipt"], known["sm3"], known["note"], remarks)
