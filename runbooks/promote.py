"""`biyi promote`: promote a copy that lacks commits, once an operator has seen and accepted the price."""

import asyncio
import getpass
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from replication.failover.force import Objection
from replication.model import DATA_SITES, Site, format_lsn
from runbooks.cells import ask_agent, site_settings
from runbooks.drills.scene import make_folder
from runbooks.evidence import keep_journals, write_outcome
from runbooks.exposure import word_age, word_bytes, word_count, word_yuan
from runbooks.stand.home import default_home

PRICE_SECONDS = 5.0
"""Patience with a price; the agent gives the other site's 1 s. Source: our choice."""
PROMOTE_SECONDS = 40.0
"""Patience with the promotion; the agent itself gives up after 30 s."""

OBJECTIONS = {
    Objection.ETCD_SILENT: "no etcd member answers the agent: it cannot know who may write the cell",
    Objection.NO_GRANT: "the cell has no grant",
    Objection.IS_PRIMARY: "this copy is the cell's primary, or is being promoted already",
    Objection.NOT_A_STANDBY: "this copy's server does not run as a standby: see `biyi why`",
    Objection.PRIMARY_VISIBLE: "the cell's primary can still be seen: `biyi move` moves it without loss",
    Objection.PRIMARY_NOT_SILENT_LONG_ENOUGH: "the primary's site has not been silent for so long that it "
    "has surely stopped acknowledging: look again in some seconds",
    Objection.SAFE_TAKE_OVER_POSSIBLE: "a copy that has everything lives: it takes over without any loss",
    Objection.TAKE_OVER_UNDER_WAY: "another copy is taking the cell over",
    Objection.BETTER_COPY: "another copy has more",
}
"""Each objection of `replication.failover.force` in words for people."""


@click.command("promote")
@click.argument("cell")
@click.option(
    "--at", "at", required=True, type=click.Choice([str(s) for s in DATA_SITES]),
    help="The site whose copy shall write the cell.",
)  # fmt: skip
@click.option("--accept-loss", "token", help="The token printed with the price: do it, at that price.")
@click.option("--by", default=None, help="Who accepts the loss, for the journal. Default: the user's name.")
@click.option("--json", "as_json", is_flag=True, help="Print the price, or the answer, as JSON.")
def promote_command(cell: str, at: str, token: str | None, by: str | None, as_json: bool) -> None:
    """Promote CELL's copy at a site although it may lack acknowledged commits; prints the price first.

    Only for a cell whose primary is gone and that no copy can take over without loss (mode ALONE). Without
    --accept-loss nothing is done: what would be lost is shown, with a token. Repeat the command with
    --accept-loss TOKEN to do it. The token holds for those figures only: when anything changed, look again.

    When the old primary comes back, the rows only it has are written down before it is rewound
    (`biyi quarantine`). Every forced promotion leaves a folder in evidence/ and a line in the journal.

    \b
    Exit 0: price shown, nothing speaks against it; or promoted.
    Exit 1: refused.  Exit 3: the agent does not answer, or the end is not known: see `biyi why CELL`.
    """
    settings = site_settings()[Site(at)]
    path = f"/v1/cells/{cell}/promote"
    if token is None:
        answered = asyncio.run(ask_agent(settings, path, PRICE_SECONDS))
        answer = _answer_of(answered, at)
        click.echo(json.dumps(answer) if as_json else _word_answer(answer))
        sys.exit(3 if answered is None else int(_objects(answer)))
    who = by or getpass.getuser()
    began_ns = time.monotonic_ns()
    wish = {"accept_loss": token, "by": who}
    answered = asyncio.run(ask_agent(settings, path, PROMOTE_SECONDS, "POST", wish))
    answer = _answer_of(answered, at) | {"cell": cell, "at_site": at, "by": who, "accepted": token}
    if answer["outcome"] != "refused":
        answer["evidence"] = str(keep_evidence(default_home(), answer, began_ns))
    click.echo(json.dumps(answer) if as_json else _word_answer(answer))
    sys.exit({"done": 0, "refused": 1}.get(str(answer["outcome"]), 3))


def keep_evidence(home: Path, answer: Mapping[str, Any], began_ns: int) -> Path:
    """Write verdict.json (price, who, outcome) and the agents' journals of that time; return the folder."""
    stamp = datetime.now(UTC)  # noqa: TID251  a runbook is a shell: it stamps people's time once
    folder = make_folder(home, f"{stamp:%Y%m%dT%H%M%SZ}-forced-promotion-{answer['cell']}")
    keep_journals(folder, home, began_ns, time.monotonic_ns())
    write_outcome(folder, {"runbook": "forced-promotion", "ended": stamp.isoformat(), **answer}, [])
    return folder


def _answer_of(answered: tuple[int, Any] | None, at: str) -> dict[str, Any]:
    if answered is None:
        return {"outcome": "unknown", "why": f"the agent at {at} did not answer"}
    return dict(answered[1])


def _objects(answer: Mapping[str, Any]) -> bool:
    return answer["outcome"] == "refused" or bool(answer.get("price", {}).get("objection"))


def _word_answer(answer: Mapping[str, Any]) -> str:
    price, outcome = answer.get("price"), answer["outcome"]
    lines = word_price(price) if price else []
    if outcome == "priced" and price and not price["objection"]:
        lines.append(
            f"Nothing was done. To accept this loss:\n  biyi promote {price['cell']} "
            f"--at {price['copy'].split('-')[1]} --accept-loss {price['token']}"
        )
    elif outcome != "priced":
        if not (price and price["objection"]):
            lines.append(f"{outcome}: {answer['why']}")
        if "evidence" in answer:
            lines.append(f"Evidence: {answer['evidence']}")
    return "\n".join(lines)


def word_price(price: Mapping[str, Any]) -> list[str]:
    """Return the lines that say what a promotion would lose; `price` is an encoded Price."""
    copy_lsn = format_lsn(price["copy_lsn"])
    lines = [
        f"Promoting {price['copy']} (cell {price['cell']}, epoch {price['epoch']}, {price['mode']}) loses"
    ]
    if price["known_at"] is None:
        lines.append(
            f"  unknown: the primary {price['primary']} left no figures; this copy ends at {copy_lsn}"
        )
    else:
        lines += [
            f"  WAL     {word_bytes(price['gap_bytes'])} (primary {format_lsn(price['primary_lsn'])} at "
            f"{price['known_at']}, this copy {copy_lsn})",
            f"  commits {_at_most(word_count(price['commits']))}",
            f"  money   {_at_most(word_yuan(price['moved_fen']))} moved through the ledger",
            f"  all since {price['since'] or 'a time not known'}; what {price['primary']} did after "
            f"{price['known_at']} is in no figure",
        ]
    lines.append(f"  its agent has been silent for {word_age(price['silent_for_ms'] / 1000)}")
    for other in price["others"]:
        lines.append(
            f"  also there: {other['place']}, {other['state']}, up to {format_lsn(other['received_lsn'])}"
        )
    if not price["others"]:
        lines.append("  no other copy's agent answers")
    if price["objection"]:
        better = f" ({price['better']})" if price["better"] else ""
        lines.append(f"Refused: {OBJECTIONS[Objection(price['objection'])]}{better}")
    return lines


def _at_most(text: str) -> str:
    return text if text.startswith("unknown") else f"at most {text}"
