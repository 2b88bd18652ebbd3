"""Ask a border something through its control socket: change links, hand connections over, count them."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path

ANSWER_PATIENCE_S = 1.0
"""Patience with a border; it answers within a millisecond or is gone. Source: our choice."""


def ask_border(path: Path, token: str, request: Mapping[str, object]) -> dict[str, object]:
    """Send one request, return the answer; OSError when no border answers, ValueError when it refuses."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_PATIENCE_S)
        connection.connect(str(path))
        connection.sendall(json.dumps({"token": token, **request}).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ConnectionError(f"border at {path}: closed without an answer")
    answer: dict[str, object] = json.loads(line)
    if "error" in answer:
        raise ValueError(f"border at {path}: {answer['error']}")
    return answer
