"""``python -m bench.questions``: precision and recall on both sets; ``--errors`` shows what is wrong in development.

Errors of the held-out set are not shown: whoever looks at them tunes on it.
"""

import argparse
import sys
import time

from bench.questions.measure import SETS, Figures, measure, read
from parley_gateway.dialects.asr.questions import is_question


def main(arguments: list[str]) -> int:
    """Print the table; 1 where a figure is below the bar."""
    parser = argparse.ArgumentParser(prog="python -m bench.questions", description=__doc__)
    parser.add_argument("--errors", action="store_true", help="show the development set's errors")
    parser.add_argument("--bar", type=float, default=0.95, help="least precision and recall")
    parser.add_argument("--only", choices=sorted(SETS), help="one set alone")
    options = parser.parse_args(arguments)
    print(f"{'set':<12} {'utterances':>10} {'questions':>9} {'precision':>9} {'recall':>7} {'us each':>8}")
    good = True
    for name, path in SETS.items():
        if options.only not in (None, name):
            continue
        utterances = read(path)
        began = time.perf_counter()
        figures = measure(utterances, is_question)
        each_us = (time.perf_counter() - began) / (2 * len(utterances)) * 2e6
        print(
            f"{name:<12} {figures.size:>10} {figures.questions:>9} {figures.precision:>9.3f} {figures.recall:>7.3f} "
            f"{each_us:>8.1f}"
        )
        good = good and min(figures.precision, figures.recall) >= options.bar
        if options.errors and name == "development":
            _show(figures)
    return 0 if good else 1


def _show(figures: Figures) -> None:
    for title, utterances in (("missed", figures.missed), ("mistaken", figures.mistaken)):
        for each in utterances:
            print(f"  {title:<9} {each.kind:<14} {each.text}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
