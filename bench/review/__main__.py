"""``uv run python -m bench.review``: precision and recall of the embedded assessor for each rule, side and language,
through the real retrieval. ``--misses`` shows what it got wrong (never in the held-out set).
"""

import asyncio
import sys

from bench.review import figures


def main(arguments: list[str]) -> None:
    for name in figures.SETS:
        judged = asyncio.run(figures.judge(figures.load(name)))
        print(f"\n{name}: {len(judged)} clauses, each for buyer and seller")
        print(figures.table(judged))
        if "--misses" in arguments and name != "held_out":
            for one in judged:
                for side in figures.SIDES:
                    wanted, found = one.wanted[side], one.found[side]
                    if wanted != found:
                        print(f"  {side}: wanted {sorted(wanted)} found {sorted(found)}: {one.clause}")


main(sys.argv[1:])
