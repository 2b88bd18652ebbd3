"""Files of the two-person rule: a holder's key, a request with its approvals, receipts."""

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compliance.protection.approvals import Approval, Request, read_request
from compliance.protection.errors import ApprovalRefused, RingFileError
from compliance.protection.roots import read_private_text
from compliance.protection.sm2 import SigningKey, make_signing_key, private_key_of


def make_holder_key(path: Path) -> SigningKey:
    """Write a fresh SM2 private key (hexadecimal, mode 0600); RingFileError when there is a file already."""
    private = private_key_of(secrets.token_bytes(32))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RingFileError(f"{path}: there is a file already; a holder's key is never overwritten") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(private.hex() + "\n")
    return make_signing_key(private)


def read_holder_key(path: Path) -> SigningKey:
    """Return a holder's key; RingFileError when it is none or others may read it."""
    try:
        return make_signing_key(bytes.fromhex(read_private_text(path)))
    except ValueError:
        raise RingFileError(
            f"{path}: no SM2 private key in hexadecimal; made by `biyi keys holder`"
        ) from None


def write_asked(path: Path, request: Request, approvals: Sequence[Approval] = ()) -> None:
    """Write a request with the approvals it has so far; it holds no secret."""
    document = {
        "request": request.plain(),
        "approvals": [{"holder": a.holder, "signature": a.signature.hex()} for a in approvals],
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_asked(path: Path) -> tuple[Request, list[Approval]]:
    """Return a request and its approvals; ApprovalRefused when the file is none."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        approvals = [Approval(str(a["holder"]), bytes.fromhex(a["signature"])) for a in plain["approvals"]]
        return read_request(plain["request"]), approvals
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ApprovalRefused(
            f"{path}: no request ({type(error).__name__}); make one by `biyi keys ask`"
        ) from None


def keep_receipt(folder: Path, receipt: dict[str, Any]) -> Path:
    """Write a receipt beside the ring it is about, durably; return where."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{receipt['customer_id']}-{receipt['request_sm3'][:16]}.json"
    aside = path.with_suffix(".tmp")  # half a receipt would count as one
    with aside.open("w", encoding="utf-8") as file:
        json.dump(receipt, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    return path
