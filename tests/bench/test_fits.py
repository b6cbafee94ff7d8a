"""Benchmarks patch Parley in processes of their own: what they patch is still there, and takes what it took."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
POINTS = {
    "without confirms": "from bench.without import no_confirms as patch; patch()",
    "without quorum": "from bench.without import classic_queues as patch; patch()",
    "without durable": "from bench.without import transient_messages as patch; patch()",
    "without store": "from bench.without import no_store as patch; patch()",
    "without record": "from bench.without import no_record as patch; patch()",
    "hold search": "from pathlib import Path; from bench.launch import hold_search; hold_search(Path('x'))",
    "hold close": "from pathlib import Path; from bench.launch import hold_close; hold_close(Path('x'))",
    "slow search": "from bench.launch import slow_search; slow_search(0.2)",
    "stamp": "from pathlib import Path; from bench.launch import stamp_seats; stamp_seats(Path('/dev/null'))",
}
SAME_ARGUMENTS = """
import inspect
from parley_runtime.store.turns import TurnTable
before = {name: list(inspect.signature(getattr(TurnTable, name)).parameters) for name in NAMES}
from bench.without import no_store
no_store()
after = {name: list(inspect.signature(getattr(TurnTable, name)).parameters) for name in NAMES}
assert before == after, (before, after)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", POINTS.values(), ids=POINTS.keys())
def test_what_a_benchmark_patches_is_there(code):
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_store_that_forgets_takes_what_the_store_takes():
    done = run(f"NAMES = {['claim_first', 'claim_later', 'close', 'conversation']}\n{SAME_ARGUMENTS}")
    assert done.returncode == 0, done.stderr


def test_a_patch_for_something_that_is_gone_says_so():
    done = run("import types; from bench.swap import swap; swap(types, nothing=1)")
    assert (done.returncode, "types has no nothing" in done.stderr) == (1, True)
