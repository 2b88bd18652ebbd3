"""A partner's score of a customer, by the data standard: kept with its model's version, for variables."""

import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from core_app.commands import Answer, Claim, Command, Done, finish_command
from core_app.core import Connection, LendingCore
from core_app.customers.command import run_for_customer
from core_app.errors import Kind, Refused, refuse_field
from core_app.outbox import Told
from core_app.partners.dictionary import DICTIONARY, Dictionary, find_faults
from core_app.yaml_documents import parse_yaml, read_text

_FILE = Path(__file__).parent / "dictionary.yaml"
RECORD = "partner_score"

_INSERT = """
insert into core.partner_scores (customer_id, partner, model_kind, model_version, score, scored_on, standard,
    received_on, idempotency_key)
values (%(customer_id)s, %(partner)s, %(kind)s, %(version)s, %(score)s, %(scored_on)s, %(standard)s, %(day)s,
    %(key)s)
"""


@cache
def read_dictionary() -> Dictionary:
    """Return the data standard, read once a process; DocumentInvalid names the field's path."""
    return parse_yaml(_FILE.name, read_text(_FILE), DICTIONARY)


def check_record(record_id: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether a record keeps to the standard, and each field that does not. Nothing is kept."""
    dictionary = read_dictionary()
    record = dictionary.find(record_id)
    if record is None:
        known = ", ".join(one.id for one in dictionary.records)
        raise refuse_field("body.record", record_id, f"one of: {known}")
    faults = find_faults(record, data)
    shown = [{"path": one.path, "found": one.found, "needed": one.needed} for one in faults]
    return {"record": record_id, "standard": dictionary.standard, "keeps": not faults, "faults": shown}


async def keep_partner_score(
    core: LendingCore, command: Command, customer_id: str, data: Mapping[str, Any]
) -> Done:
    """Keep a partner's score from today on; Refused (422) names every field that breaks the standard."""
    dictionary = read_dictionary()
    record = dictionary.find(RECORD)
    assert record is not None  # noqa: S101 - the shipped document has it, a test looks
    if faults := find_faults(record, data):
        raise Refused(Kind.INVALID, "; ".join(f"{one.path}: {one.needed}" for one in faults), *faults)
    model, scored_on = data["model"], dt.date.fromisoformat(data["model"]["scored_on"])

    async def work(connection: Connection, claim: Claim, today: dt.date) -> Answer:
        if scored_on > today:
            raise refuse_field("body.data.model.scored_on", "a later day", f"{today} or before")
        kept = {"partner": data["partner"], "kind": model["kind"], "version": model["version"]}
        kept |= {"customer_id": customer_id, "score": model["score"], "standard": dictionary.standard}
        days = {"scored_on": scored_on, "day": today}
        await connection.execute(_INSERT, kept | days | {"key": command.key})
        body = kept | {"scored_on": scored_on.isoformat(), "received_on": today.isoformat()}
        told = Told("partner_score.kept", customer_id, body)
        return await finish_command(connection, claim, 201, body, told)

    return await run_for_customer(core, command, customer_id, work)
