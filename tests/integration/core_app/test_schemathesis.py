"""Requests made up from the OpenAPI document, sent to the real API on real PostgreSQL by schemathesis.

It runs as a program of its own, so that the API under test has this process's event loop to itself.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from core_app.api.rate_limit import CLIENT_HEADER
from tests.integration.core_app.lending import apply, confirm, make_person
from tests.integration.core_app.people import token_of

# What random bodies cannot know are business rules: a well-formed request may rightly be refused.
EXCLUDED = "positive_data_acceptance"
_OTHERS = "coupons|limits|pre-screens|reversals|segments|strategies|write-offs"
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
STAFF = f"^/v1/(staff|{_OTHERS})"
ENDING = "/(logout|password)$"  # they would end the session that the rest is asked with
_LOOKING = "customers|loans|applications|looks|searches|exports|assigned"
_DESK = f"^/v1/staff/(?!{_LOOKING})"
OF_STAFF = (
    *(f"^/v1/staff/({_LOOKING})", f"^/v1/({_OTHERS})"),
    *(f"{_DESK}c[a-n]", f"{_DESK}c[o-z]", f"{_DESK}[abd-z]"),
)
# Run side by side: a run waits for each answer, and its threads trip over each other in CPython 3.11.
# About as many requests each: the longest one is what the test takes.
_REST = f"^/v1/(?!staff|{_OTHERS})"
SHARES = (*OF_STAFF, f"{_REST}[a-c]", f"{_REST}[d-p]", f"{_REST}[q-z]")


async def write_document(client: Any, folder: Path) -> Path:
    """Write the document with examples that point to real objects, so that examples reach the happy paths."""
    _, customer, _ = await client.post("/v1/customers", make_person())
    decided = await apply(client, customer["customer_id"])
    _, contract, _ = await client.post("/v1/contracts", confirm(decided))
    _, loan, _ = await client.post("/v1/draws", {"contract_id": contract["contract_id"]})
    waiting = await apply(client, customer["customer_id"])
    look = await client.send(
        "POST",
        f"/v1/staff/customers/{customer['customer_id']}/looks",
        json={"purpose": "customer_request"},
    )
    complaint = {"customer_id": customer["customer_id"], "about": "fees", "words": "The fee was not shown."}
    _, complaint, _ = await client.post("/v1/complaints", complaint)
    text = json.dumps((await client.get("/openapi.json"))[1], ensure_ascii=False)
    real = {
        "C": customer["customer_id"],
        "A": waiting["application_id"],
        "L": loan["loan_id"],
        "S": look[1]["look_id"],
        "G": complaint["complaint_id"],
    }
    for letter, object_id in real.items():
        text = re.sub(f'"{letter}(1f3-)?0123456789abcdef[0-9a-f]*"', f'"{object_id}"', text)
    file = folder / "openapi.json"
    file.write_text(text, encoding="utf-8")
    return file


def ask_for_the_shared_header_once(document: Path) -> None:
    """Leave the client's name, which names a bucket of the rate limit, at one operation of the document."""
    plain = json.loads(document.read_text(encoding="utf-8"))
    for path, item in plain["paths"].items():
        for operation in item.values():
            if path != "/v1/quotes":
                kept = [one for one in operation["parameters"] if one["name"] != CLIENT_HEADER]
                operation["parameters"] = kept
    document.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")


async def run_schemathesis(
    url: str, document: Path, *options: str, bearer: str, seconds: int
) -> tuple[int, str]:
    """Run it to its end as whom the token names; returns its exit code and what it wrote."""
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "run", str(document), "--url", url, "--no-color"),
        *("--header", f"Authorization: Bearer {bearer}"),
        *("--exclude-checks", EXCLUDED, "--seed", "1", *options),
        cwd=document.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        written, _ = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, written.decode()


async def test_made_up_requests_find_no_defect_and_nothing_undocumented(client: Any, tmp_path: Path) -> None:
    """Every documented example, and values at and beyond each bound of each field, one of a shape.

    The header that every operation has and one place reads is varied at one operation. Of the methods that
    a path does not have, one is asked for; the slow run asks for all of both, and for more of each shape.
    """
    document = await write_document(client, tmp_path)
    ask_for_the_shared_header_once(document)
    settings = f'hooks = "{HOOKS}"\n[phases.coverage]\nunexpected-methods = ["patch"]\n'
    (tmp_path / "schemathesis.toml").write_text(settings)
    words = ("--phases", "examples,coverage")
    runs = [
        run_schemathesis(
            *(client.url, document, *words, "--include-path-regex", share),
            *("--exclude-path-regex", ENDING),
            bearer=token_of("li.wei") if share in OF_STAFF else client.channel,
            seconds=240,
        )
        for share in SHARES
    ]
    selected, total = 0, 0
    for code, written in await asyncio.gather(*runs):
        assert code == 0, written
        found = re.search(r"(\d+) selected / (\d+) total", written)
        assert found is not None, written
        selected, total = selected + int(found[1]), int(found[2])
    assert selected == total - 2, "each operation but those that end the session is in one share"


@pytest.mark.slow
@pytest.mark.timeout(1000)
async def test_many_made_up_requests_and_sequences_of_them_find_no_defect(
    client: Any, tmp_path: Path
) -> None:
    document = await write_document(client, tmp_path)
    words = ("--max-examples", "50", "--phases", "examples,coverage,fuzzing,stateful")
    words += ("--exclude-path-regex", ENDING)
    for bearer, part in (
        (token_of("li.wei"), "--include-path-regex"),
        (client.channel, "--exclude-path-regex"),
    ):
        code, written = await run_schemathesis(
            *(client.url, document, *words, part, STAFF), bearer=bearer, seconds=450
        )
        assert code == 0, written
