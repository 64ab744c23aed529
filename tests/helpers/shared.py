"""Where the real task data and the original's outputs lie, which are no part of the repository."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
SHARED = Path(os.environ.get("JAXRED_SHARED", ROOT.parent / "shared"))
