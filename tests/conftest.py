"""What every test runs under. Fixtures live beside their tests, not here."""

import os

from hypothesis import settings

# No deadline: a slow machine is not a failure. On CI the same examples each time: a red run repeats.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")
