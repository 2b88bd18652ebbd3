"""Run commands of `biyi` one after the other and print what they said: the reader of a console's pages.

    echo '[["keys", "status", "--json"]]' | python -m runbooks.console.read

One process for several commands: to load them takes longer than to ask.
"""

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from runbooks.cli import main


def run_one(words: Sequence[str]) -> dict[str, Any]:
    """Return exit code, output and complaints of one command; a defect is an answer too."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main(list(words), prog_name="biyi")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception as error:  # noqa: BLE001 - one command's defect is not the others'
            code = 3
            print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - it is redirected
    return {"exit": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    json.dump([run_one(words) for words in json.load(sys.stdin)], sys.stdout)
