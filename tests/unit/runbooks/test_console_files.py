"""Scripts that others wrote are what their packages published, and stand with licence and version."""

import hashlib

import pytest

from runbooks.console.pages import STATIC

DIGESTS = {
    "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "htmx-sse.min.js": "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
    "echarts.simple.min.js": "5eef51bee09fb9cc234c4179a58ae0150126f49f88c992efe2d6bca81d8dd03b",
}


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_a_script_of_others_is_unchanged(name: str):
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == DIGESTS[name]
    assert f"`{name}`" in (STATIC / "README.md").read_text(encoding="utf-8")


def test_every_script_is_ours_or_listed():
    assert {path.name for path in STATIC.glob("*.js")} == {"console.js", *DIGESTS}


def test_our_own_files_fetch_nothing_from_elsewhere():
    for name in ("console.css", "console.js"):
        text = (STATIC / name).read_text(encoding="utf-8")
        assert "//" not in text.replace("// ", ""), name
        assert "@import" not in text
        assert "eval" not in text
