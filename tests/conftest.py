"""What every test gets: Hypothesis examples that are the same on each machine that judges a change."""

from __future__ import annotations

import os

from hypothesis import settings

# A deadline would fail a correct test on a busy machine. In CI a failure must be the change's own,
# so the draws are fixed there; at a desk they differ from run to run and find new cases.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
