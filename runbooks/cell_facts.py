"""What the agents' statuses say of the cells: one row a cell, alarms, reasons in words. Pure.

A status is what an agent answers at /v1/status (`replication.agent.status`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from replication.model import Site, parse_lsn
from runbooks.exposure import compute_exposure

REASONS = {
    "etcd_silent": "no etcd member answers: nothing is decided on old knowledge",
    "kept_by_peer": "no etcd, but the sync copies acknowledge and the other agents, without etcd too, wait",
    "grant_unconfirmed": "the grant could not be confirmed for too long: stop rather than serve stale reads",
    "no_grant_yet": "the cell has no grant yet; its home site makes the first one",
    "grant_lost": "there are data but no grant: only a person can say who was primary",
    "emptiness_not_proven": "no grant and no data here, but not every site says that it holds none",
    "bootstrap": "a new cell is made at its home",
    "superseded": "the grant names another copy: this one must not run as a primary",
    "granted": "the grant names this copy primary and its server does not run",
    "server_mute": "the server did not answer for too long",
    "disk_stalled": "no WAL gets onto this disk: the sync copy shall take the cell over",
    "disk_full": "a disk is nearly full: free space there; nothing is moved onto it",
    "server_starting": "the server is starting or does not answer yet",
    "epoch_not_marked": "the epoch must stand in the database before clients may",
    "sync_set_silent": "a copy of the sync set has not acknowledged for degrade_after_ms: go on without it",
    "sync_site_silent": "a copy of the sync set is silent and so is its whole site: go on without it",
    "sync_agent_silent": "a copy of the sync set is silent and so is its own agent: go on without it",
    "better_copy_in_sync": "a better placed copy is in the sync set: the stand-in is not waited for",
    "blocked_without_copy": "no sync copy acknowledges, and this cell never writes alone: clients wait",
    "waiting_for_sync_set": "clients wait until the sync set has the end of this server's WAL",
    "sync_set_has_everything": "the sync set has the end of this server's WAL: let clients in",
    "names_behind_grant": "PostgreSQL must wait for every copy the grant promises",
    "copy_caught_up": "a copy has caught up: commits wait for it from now on",
    "copy_named": "commits wait for the copy: prove it with a marker, then grant it",
    "going_home": "the home copy has been in the sync set long enough",
    "operator_asked": "an operator asked for the move",
    "move_target_not_in_sync": "the wanted copy is not in the sync set, so it may not be promoted",
    "moving": "a planned move is under way",
    "move_target_silent": "the copy to move to fell silent: the move is given up",
    "serving": "primary, open, sync set true",
    "primary_site_silent": "the primary's beat stands still and its stream or probe is dead",
    "primary_agent_silent": "the primary's own agent is silent, its site is not; stream or probe is dead",
    "primary_declared_down": "the primary's own agent says it cannot run it",
    "candidate_failed": "the candidate fell silent before it acknowledged anything",
    "silent_but_stream_alive": "the beat stands still but the WAL stream lives: an etcd hiccup is no death",
    "promised_to_wait": "this agent promised the other one, while neither saw etcd, to take nothing over yet",
    "alone_never_promotes": "no other copy has every acknowledged commit: nothing is promoted by itself",
    "not_in_sync_set": "this copy may lack acknowledged commits: it is not promoted",
    "forced_by_operator": "an operator accepts the loss: this copy takes the cell over",
    "candidate": "the grant lets this copy take the cell over",
    "other_candidate": "another copy is taking the cell over",
    "waiting_for_primary": "there is no living primary to copy from",
    "no_directory": "there is no directory: copy the primary",
    "directory_broken": "a rewind failed half-way: copy the primary",
    "was_primary": "a former primary comes back as a copy",
    "stream_stuck": "cannot stream although the primary lives: the histories differ",
    "other_primary": "the stream must point at the new primary",
    "following": "standby of the granted primary",
}
"""Each reason of `replication.failover.states.Why` in words for people."""


def read_published(statuses: Mapping[Site, Any]) -> dict[str, Any]:
    """Return what the sites' agents published of their exposed cells: site -> cell -> the newest figures."""
    newest: dict[str, dict[str, Any]] = {}
    for status in statuses.values():
        for site, cells in status.get("exposures", {}).items():
            for cell, known in cells.items():
                held = newest.setdefault(site, {})
                if cell not in held or held[cell]["at"] < known["at"]:
                    held[cell] = known
    return newest


def compute_cell_rows(statuses: Mapping[Site, Any], now: datetime) -> list[dict[str, Any]]:
    """Return one row a cell: the newest grant any agent has read, the lag its primary sees, the exposure.

    `now` is aware UTC, for ages.
    """
    rows = []
    published = read_published(statuses)
    places = {name: facts for status in statuses.values() for name, facts in status["places"].items()}
    cells = sorted({cell for status in statuses.values() for cell in status["grants"]})
    for cell in cells:
        known = (s["grants"][cell] for s in statuses.values() if cell in s["grants"] and s["etcd_answers"])
        grant = max(known, key=lambda g: g["epoch"], default=None)
        if grant is None:
            continue
        place = grant["primary"].rsplit("-", 1)[0]
        seen = (places.get(place) or {}).get("seen") or {}
        own = seen.get("own", {})
        flushed = [f["flush_lsn"] for f in own.get("followers", []) if f["copy"] in grant["sync_set"]]
        rows.append(
            {
                "cell": cell,
                "home": seen.get("home"),
                "epoch": grant["epoch"],
                "mode": grant["mode"],
                "primary": place,
                "at_home": seen.get("home") is not None and place.split("-")[1] == seen["home"],
                "open": own.get("open"),
                "sync_set": [copy.rsplit("-", 1)[0] for copy in grant["sync_set"]],
                "replay_lag_bytes": own["wal_flush_lsn"] - min(flushed) if flushed else None,
                "timeline": grant["timeline"],
                "marker_bytes": parse_lsn(grant["lsn_marker"]),
                "why": grant["why"],
                "exposure": compute_exposure(grant, published, now),
            }
        )
    return rows


def find_alarms(statuses: Mapping[Site, Any]) -> list[str]:
    """Return what leaves the cells with less protection than they are meant to have, in words."""
    silent = sorted({member for status in statuses.values() for member in status["etcd_members_silent"]})
    alarms = [
        f"no failover protection: the etcd member of {member} does not answer; the loss of another site, or a"
        " cut between the sites, would stop every cell. Bring it back."
        for member in silent
    ]
    full = sorted(
        name
        for status in statuses.values()
        for name, facts in status["places"].items()
        if ((facts["seen"] or {}).get("own") or {}).get("disk_full")
    )
    return alarms + [f"{name}: its disk is full; free space, nothing is moved onto it" for name in full]


def explain(name: str, facts: Mapping[str, Any]) -> list[str]:
    """Return the lines that explain one place."""
    seen, decision = facts["seen"], facts["decision"]
    own, held = seen["own"], seen["grant"]
    grant = held["grant"] if held else None
    why = REASONS.get(decision["why"], decision["why"])
    lines = [f"[bold]{name}[/bold]: {own['state']}, does {decision['step']}: {why} ({decision['why']})"]
    if grant is None:
        return [*lines, "  no grant of this cell is known"]
    copy = own["copy"]
    if copy == grant["primary"]:
        role = "it is the granted primary"
    elif copy in grant["sync_set"]:
        role = "it is in the sync set: it has every acknowledged commit and may be promoted"
    else:
        role = "it is not in the sync set: it may lack acknowledged commits and is never promoted"
    lines.append(f"  copy {copy}: {role}")
    lines.append(
        f"  grant: epoch {grant['epoch']}, mode {grant['mode']}, primary {grant['primary']}, "
        f"revision {held['revision']}, confirmed {seen['confirmed_age_ms']} ms ago"
    )
    silent = ", ".join(f"{site} {ms} ms" for site, ms in seen["silent_for_ms"].items())
    agents = seen.get("agent_silent_for_ms", {}).items()
    silent += "".join(f", agent of {place} {ms} ms" for place, ms in agents)
    stream = own["stream"] if own["state"] == "standby" else "-"
    lines.append(
        f"  evidence: beats unchanged {silent}; own WAL stream {stream}; probe {seen['probe_answered']}"
    )
    return lines
