"""The evidence pack: one file with what was read, attested and concluded, signed at the end.

    biyi-controls 1 <JSON: number, previous pack, catalogue, sites, form, when>
    R <JSON>     a reading: probe, place, time, raw facts, SM3
    A <JSON>     an attestation
    V <JSON>     an item's outcome
    T <signature> <JSON: key, SM3 of all lines above, both scores>

Verifying needs the file and the auditor's list of public keys. Verdicts are judged anew from the readings in
the file, so that a pack whose conclusion does not follow from its evidence is found out, whoever signed it.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from compliance.audit.digest import compute_sm3
from compliance.audit.signing import PublicKeys, Signer, check_signature
from compliance.controls.catalogue import Catalogue
from compliance.controls.errors import PackUnreadable
from compliance.controls.judge import Attested, Outcome, Seen, judge
from compliance.controls.readings import canonical, is_whole, parse_reading
from compliance.controls.score import LABEL_EN, LABEL_ZH, Score, compute_score

MAGIC = b"biyi-controls 1 "


@dataclass(frozen=True, slots=True)
class Run:
    """One judged run. `number` counts from 1; `previous_sm3` is of the pack before, hex, "" for the first."""

    number: int
    previous_sm3: str
    form: str
    seen: Seen
    outcomes: Mapping[str, Outcome]
    score: Score


@dataclass(slots=True)
class PackReport:
    """What verifying a pack came to: it holds when `findings` is empty."""

    findings: list[str] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)
    score: dict[str, Any] = field(default_factory=dict)
    readings: int = 0
    attestations: int = 0
    outcomes: int = 0
    signed_by: str = ""
    sm3: str = ""


def render_pack(run: Run, catalogue: Catalogue, signer: Signer) -> bytes:
    """Return the bytes of the signed pack."""
    header = {
        "number": run.number, "previous": run.previous_sm3, "catalogue": catalogue.sm3, "form": run.form,
        "sites": list(run.seen.sites), "judged_at": run.seen.now.isoformat(), "label": LABEL_EN,
        "label_zh": LABEL_ZH,
    }  # fmt: skip
    lines = [MAGIC + canonical(header)]
    lines += [b"R " + canonical(reading.to_plain()) for reading in run.seen.readings]
    lines += [b"A " + canonical(render_attested(one)) for one in run.seen.attestations]
    lines += [b"V " + canonical(render_outcome(one)) for one in run.outcomes.values()]
    body = b"".join(line + b"\n" for line in lines)
    trailer = canonical(
        {"key": signer.key_id, "lines_sm3": compute_sm3(body).hex(), "score": render_score(run.score)}
    )
    return body + b"T " + signer.sign(trailer).hex().encode() + b" " + trailer + b"\n"


def render_attested(one: Attested) -> dict[str, Any]:
    """Return an attestation as plain values."""
    plain = asdict(one)
    return plain | {name: plain[name].isoformat() for name in ("valid_from", "valid_to")}


def parse_attested(plain: Mapping[str, Any]) -> Attested:
    """Return an attestation of a pack; KeyError, ValueError, TypeError when malformed."""
    dates = {name: dt.date.fromisoformat(plain[name]) for name in ("valid_from", "valid_to")}
    return Attested(**{**plain, **dates})


def render_outcome(one: Outcome) -> dict[str, Any]:
    """Return an item's outcome as plain values."""
    return {
        "item": one.item, "state": str(one.state),
        "places": [
            {
                "where": v.where, "state": str(v.state), "reasons": list(v.reasons),
                "evidence": list(v.evidence),
            }
            for v in one.verdicts
        ],
    }  # fmt: skip


def render_score(score: Score) -> dict[str, Any]:
    """Return both scores as plain values."""
    return {
        "label": LABEL_EN, "label_zh": LABEL_ZH,
        "points_2021": score.points_2021, "band_2021": score.band_2021, "met_percent": score.met_percent,
        "if_known_percent": score.if_known_percent, "conclusion_2025": str(score.conclusion_2025),
        "counts": {str(state): count for state, count in score.counts.items()},
        "triggers": [
            {"id": one.trigger.id, "state": str(one.state), "items": list(one.items)}
            for one in score.triggers
        ],
    }  # fmt: skip


def is_pack(content: bytes) -> bool:
    """Say whether a file begins as an evidence pack does."""
    return content.startswith(MAGIC)


def verify_pack(content: bytes, keys: PublicKeys, catalogue: Catalogue) -> PackReport:
    """Judge a pack; PackUnreadable when it is none at all, every other defect is a finding."""
    if not is_pack(content):
        raise PackUnreadable("does not begin as a pack of `biyi controls run` does")
    report = PackReport(sm3=compute_sm3(content).hex())
    body, trailer = _split(content, report)
    if trailer is not None:
        _judge_trailer(body, trailer, keys, report)
    parts = _read_lines(body, report)
    if parts is not None:
        _judge_conclusion(parts, catalogue, report)
    return report


def _split(content: bytes, report: PackReport) -> tuple[bytes, tuple[bytes, bytes] | None]:
    cut = content.rstrip(b"\n").rfind(b"\n") + 1
    last = content[cut:]
    if not last.startswith(b"T ") or not last.endswith(b"\n") or last.count(b" ") < 2:
        report.findings.append("the end is cut off: no signature")
        return content, None
    signature, text = last[2:-1].split(b" ", 1)
    return content[:cut], (signature, text)


def _judge_trailer(body: bytes, trailer: tuple[bytes, bytes], keys: PublicKeys, report: PackReport) -> None:
    signature, text = trailer
    try:
        plain = dict(json.loads(text))
        key = keys.get(str(plain.get("key")))
        signed = key is not None and check_signature(key, text, bytes.fromhex(signature.decode()))
    except (ValueError, TypeError):
        report.findings.append("the last line is malformed")
        return
    if key is None or not signed:
        report.findings.append("the signature is of no known key over this end")
        return
    report.signed_by, report.score = f"{plain['key']} ({key.site})", plain.get("score", {})
    if plain.get("lines_sm3") != compute_sm3(body).hex():
        report.findings.append("lines were changed, added, taken away or put in another order after signing")


def _read_lines(body: bytes, report: PackReport) -> dict[str, list[Any]] | None:
    parts: dict[str, list[Any]] = {"R": [], "A": [], "V": []}
    lines = body.splitlines()
    try:
        report.header = dict(json.loads(lines[0][len(MAGIC) :]))
        for line in lines[1:]:
            kind, _, text = line.partition(b" ")
            plain = json.loads(text)
            made = {"R": parse_reading, "A": parse_attested, "V": dict}[kind.decode()](plain)  # type: ignore[operator]
            parts[kind.decode()].append(made)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        number = 1 + sum(map(len, parts.values())) + (1 if report.header else 0)
        report.findings.append(f"line {number} is malformed ({type(error).__name__})")
        return None
    report.readings, report.attestations, report.outcomes = (len(parts[kind]) for kind in "RAV")
    altered = [f"{one.probe} at {one.where}" for one in parts["R"] if not is_whole(one)]
    report.findings += [f"reading {name} does not have the hash it was made with" for name in altered]
    return parts


def _judge_conclusion(parts: Mapping[str, Sequence[Any]], catalogue: Catalogue, report: PackReport) -> None:
    if report.header.get("catalogue") != catalogue.sm3:
        report.findings.append(
            f"judged by another catalogue ({str(report.header.get('catalogue'))[:16]}…) than this program's "
            f"({catalogue.sm3[:16]}…): take the program of its time"
        )
        return
    try:
        now = dt.datetime.fromisoformat(report.header["judged_at"])
        sites = tuple(report.header["sites"])
    except (KeyError, ValueError, TypeError):
        report.findings.append("line 1 lacks when it was judged, or the sites")
        return
    outcomes = judge(catalogue, Seen(sites, now, parts["R"], parts["A"]))
    told = {one.get("item"): one for one in parts["V"]}
    wrong = [item for item, one in outcomes.items() if told.get(item) != render_outcome(one)]
    if wrong or len(told) != len(outcomes):
        report.findings.append(f"verdicts do not follow from the evidence: {', '.join(wrong[:5]) or 'items'}")
    if report.score and report.score != json.loads(
        canonical(render_score(compute_score(catalogue, outcomes)))
    ):
        report.findings.append("the scores do not follow from the verdicts")
