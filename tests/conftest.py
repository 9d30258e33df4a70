"""Makes the repository and the tests' own helpers (oracles, statistical, torch_reference) importable."""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]
