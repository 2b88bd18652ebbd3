"""Where Pulumi enters: `main: infra/` in Pulumi.yaml runs this directory, so the root is put on the path."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from infra.program import ProgramRefused, run
from infra.protection import PlanRefused
from infra.settings import SettingsRefused

try:
    run()
except (ProgramRefused, PlanRefused, SettingsRefused) as refused:
    sys.stderr.write(f"refused: {refused}\n")
    sys.stderr.flush()
    # An exception would not do: the SDK catches it and still sends every registration that waits.
    os._exit(1)
