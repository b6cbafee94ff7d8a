"""Figures of benchmarks mean what their names say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
RANKS = {(20, 0.95): 19, (20, 0.5): 10, (200, 0.99): 198, (10, 0.95): 10, (3, 0.5): 2, (1, 0.99): 1}
"""Number of values and quantile: the rank that is nearest."""


def test_a_quantile_is_the_value_of_the_nearest_rank() -> None:
    code = f"""
import json
from bench.stack import quantile
print(json.dumps([quantile(range(count, 0, -1), q) for count, q in {list(RANKS)}]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(RANKS.values())
