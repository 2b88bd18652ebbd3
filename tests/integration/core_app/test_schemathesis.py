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

from tests.integration.core_app.lending import apply, confirm, make_person

# What random bodies cannot know are business rules: a well-formed request may rightly be refused.
EXCLUDED = "positive_data_acceptance"
LONGEST_SECONDS = {"few": 120, "many": 900}


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
        headers={"Biyi-Staff": "li.wei"},
    )
    text = json.dumps((await client.get("/openapi.json"))[1], ensure_ascii=False)
    real = {
        "C": customer["customer_id"],
        "A": waiting["application_id"],
        "L": loan["loan_id"],
        "S": look[1]["look_id"],
    }
    for letter, object_id in real.items():
        text = re.sub(f'"{letter}(1f3-)?0123456789abcdef[0-9a-f]*"', f'"{object_id}"', text)
    file = folder / "openapi.json"
    file.write_text(text, encoding="utf-8")
    return file


async def run_schemathesis(client: Any, folder: Path, *options: str, seconds: int) -> tuple[int, str]:
    """Run it to its end; returns its exit code and what it wrote."""
    document = await write_document(client, folder)
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    words = [
        "run",
        str(document),
        "--url",
        client.url,
        "--exclude-checks",
        EXCLUDED,
        "--seed",
        "1",
        "--no-color",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *words,
        *options,
        cwd=folder,
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
    options = ("--phases", "examples,coverage,fuzzing", "--max-examples", "5")
    code, written = await run_schemathesis(client, tmp_path, *options, seconds=LONGEST_SECONDS["few"])
    assert code == 0, written


@pytest.mark.slow
@pytest.mark.timeout(1000)
async def test_many_made_up_requests_and_sequences_of_them_find_no_defect(
    client: Any, tmp_path: Path
) -> None:
    options = ("--max-examples", "50", "--phases", "examples,coverage,fuzzing,stateful")
    code, written = await run_schemathesis(client, tmp_path, *options, seconds=LONGEST_SECONDS["many"])
    assert code == 0, written
