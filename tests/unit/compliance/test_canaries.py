"""The search for leaks finds what it is there to find."""

import base64
from pathlib import Path

import pytest

from tests.faults.canaries import find_in, find_in_tree

NAME, PHONE = "欧阳金丝雀", "13912345678"


@pytest.mark.parametrize(
    "leak",
    [
        NAME.encode(),
        NAME.encode("gbk"),
        b"GET /v1/customers/%E6%AC%A7%E9%98%B3%E9%87%91%E4%B8%9D%E9%9B%80 404",
        NAME.encode("utf-16-le"),
        rb"\u6b27\u9633\u91d1\u4e1d\u96c0",
        NAME.encode().hex().encode(),
        NAME.encode().hex().upper().encode(),
        base64.b64encode(NAME.encode()),
        base64.b64encode(b"name=" + NAME.encode() + b";"),
        base64.b64encode(b"a name=" + NAME.encode() + b"; and more"),
    ],
)
def test_a_leak_is_found_in_every_spelling(leak: bytes, tmp_path: Path) -> None:
    assert find_in(b"\0\1some bytes " + leak + b"\xff more", [PHONE, NAME]) == [NAME]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_bytes(b"x" * 100 + leak + b"y")
    found, looked = find_in_tree(tmp_path, [NAME, PHONE])
    assert found == [f"logs/api.log: {NAME}"]
    assert looked == 101 + len(leak)


def test_a_leak_in_a_large_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "wal").write_bytes(bytes(3 << 20) + NAME.encode() + bytes(1 << 20))
    (tmp_path / "clean").write_bytes(bytes(3 << 20))
    assert find_in_tree(tmp_path, [PHONE, NAME])[0] == ["wal: a canary"]


def test_what_is_masked_is_no_leak() -> None:
    assert find_in("欧阳*** 139****5678".encode(), [NAME, PHONE]) == []
