"""Seals a drill's evidence: SM3 of every file, chained to the drill before, signed with a site's SM2 key.

A folder's `evidence.sealed` is a line of JSON and a line with the signature over it. Verifying needs the
folders and the auditor's list of public keys (`biyi audit keys`). Found are a changed, added or missing file,
a forged seal, a folder taken out of the row; not that the newest were all taken: keep the SM3 of the last
one, which `biyi drill verify` prints.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from compliance.audit.digest import compute_sm3
from compliance.audit.signing import PublicKeys, Signer, check_signature

SEAL_FILE = "evidence.sealed"
_FIELDS = {"folder", "sealed_at", "key", "previous", "previous_sm3", "files"}


@dataclass(frozen=True, slots=True)
class Sealed:
    """What came of verifying one folder: it holds without `findings`. `sm3` is its seal's, "" without one."""

    folder: str
    signed_by: str
    sealed_at: str
    sm3: str
    findings: tuple[str, ...]


def seal_folder(folder: Path, signer: Signer, at: datetime) -> Path:
    """Write the seal of a folder that nobody writes to any more; its predecessor is the newest sealed one."""
    earlier = [one for one in _sealed_folders(folder.parent) if one.name < folder.name]
    before = earlier[-1] if earlier else None
    plain = {
        "folder": folder.name,
        "sealed_at": at.isoformat(timespec="seconds"),
        "key": signer.key_id,
        "previous": before.name if before else "",
        "previous_sm3": _sm3_of(before / SEAL_FILE) if before else "",
        "files": _files_of(folder),
    }
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()
    aside = folder / f".{SEAL_FILE}.tmp"
    aside.write_bytes(text + b"\n" + signer.sign(text).hex().encode() + b"\n")
    return aside.replace(folder / SEAL_FILE)


def verify_evidence(evidence: Path, keys: PublicKeys) -> Iterator[Sealed]:
    """Yield what comes of each drill's folder, the oldest first; an unsealed one is a finding."""
    before: Path | None = None
    for folder in sorted(path for path in evidence.glob("*Z-*") if (path / "history.jsonl").exists()):
        found = verify_folder(folder, keys)
        if found.sm3:
            found = _with_link(found, folder, before)
            before = folder
        yield found


def verify_folder(folder: Path, keys: PublicKeys) -> Sealed:
    """Compare a folder's files with its seal, and the seal with its signature; not with its predecessor."""
    try:
        text, signature = (folder / SEAL_FILE).read_bytes().splitlines()
        plain: dict[str, Any] = json.loads(text)
        signed = bytes.fromhex(signature.decode())
    except FileNotFoundError:
        return Sealed(
            folder.name, "", "", "", ("was not sealed: the drill was cut off, or its seal was taken away",)
        )
    except (OSError, ValueError) as error:
        return Sealed(folder.name, "", "", "", (f"{SEAL_FILE} is malformed ({type(error).__name__})",))
    if not isinstance(plain, dict) or not plain.keys() >= _FIELDS or not isinstance(plain["files"], dict):
        return Sealed(folder.name, "", "", "", (f"{SEAL_FILE} lacks fields",))
    key = keys.get(str(plain["key"]))
    findings = []
    if key is None or not check_signature(key, text, signed):
        findings.append("the signature is of no known key over this seal")
    if plain["folder"] != folder.name:
        findings.append(f"the seal is that of {plain['folder']}")
    findings += _compare(plain["files"], _files_of(folder))
    by = f"{plain['key']} ({key.site})" if key else str(plain["key"])
    return Sealed(folder.name, by, str(plain["sealed_at"]), _sm3_of(folder / SEAL_FILE), tuple(findings))


def _with_link(found: Sealed, folder: Path, before: Path | None) -> Sealed:
    plain = json.loads((folder / SEAL_FILE).read_bytes().splitlines()[0])
    told = (str(plain["previous"]), str(plain["previous_sm3"]))
    right = (before.name, _sm3_of(before / SEAL_FILE)) if before else ("", "")
    if told == right:
        return found
    wanted = f"{told[0]} with seal {told[1][:16]}" if told[0] else "no drill"
    there = f"{right[0]} with seal {right[1][:16]}" if right[0] else "none"
    text = (
        f"follows {wanted}, but before it stands {there}: a folder is missing, was added or was sealed anew"
    )
    return Sealed(found.folder, found.signed_by, found.sealed_at, found.sm3, (*found.findings, text))


def _compare(told: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    changed = sorted(name for name in told.keys() & there.keys() if told[name] != there[name])
    return [
        *(f"{name} was changed after sealing" for name in changed),
        *(f"{name} is missing" for name in sorted(told.keys() - there.keys())),
        *(f"{name} was added after sealing" for name in sorted(there.keys() - told.keys())),
    ]


def _sealed_folders(evidence: Path) -> list[Path]:
    return sorted(path.parent for path in evidence.glob(f"*/{SEAL_FILE}"))


def _files_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
    return {str(path.relative_to(folder)): _sm3_of(path) for path in sorted(files) if path.name != SEAL_FILE}


def _sm3_of(path: Path) -> str:
    return compute_sm3(path.read_bytes()).hex()
