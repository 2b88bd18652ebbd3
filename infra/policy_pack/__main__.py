"""Where the engine's policy host enters; the root is put on the path first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from pulumi_policy import PolicyPack

from infra.policy_pack.pack import make_policies

PolicyPack(name="biyi-level-3", policies=make_policies())
