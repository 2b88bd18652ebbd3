"""Ask a border something through its control port: change links, hand connections over, count them."""

import json
import socket
from collections.abc import Mapping

ANSWER_PATIENCE_S = 1.0
"""Patience with a border; it answers within a millisecond or is gone. Source: our choice."""


def ask_border(port: int, token: str, request: Mapping[str, object]) -> dict[str, object]:
    """Send one request, return the answer; OSError when no border answers, ValueError when it refuses."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_PATIENCE_S) as connection:
        connection.sendall(json.dumps({"token": token, **request}).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ConnectionError(f"border at port {port}: closed without an answer")
    answer: dict[str, object] = json.loads(line)
    if "error" in answer:
        raise ValueError(f"border at port {port}: {answer['error']}")
    return answer
