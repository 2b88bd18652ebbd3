"""The environment of commands that a console starts: the stand they are for, without its own mark."""

import os
from pathlib import Path

from runbooks.cells import SITE
from runbooks.stand.processes import MARK


def make_environment(home: Path, site: str) -> dict[str, str]:
    """Return ours without the mark of the site's processes: a site that is killed takes those along."""
    kept = {name: value for name, value in os.environ.items() if name != MARK}
    return {**kept, "BIYI_HOME": str(home), SITE: site, "PYTHONUNBUFFERED": "1"}
