"""Code shared by the benchmark scripts.

Importing it puts the root of the checkout first on the module search path, before any installed
colocam: the scripts run in a bare checkout, and what they measure is the commit that their result
files name.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
