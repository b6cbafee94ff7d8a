"""Explore the turn protocol's model: ``python -m tests.model --help``."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from . import sizes
from .explore import Report, search, walk
from .mutations import LONG, MUTATIONS
from .world import Size


def main() -> int:
    """Returns how many explorations found something that they should not have, or missed what they should."""
    options = _options()
    wrong = 0
    for name, size in _chosen(options).items():
        report = search(size, limit=options.limit)
        wrong += _tell(name, report, found=False)
    if options.mutations:
        for mutation in (*MUTATIONS, *(LONG if options.long else ())):
            with mutation.applied() as rules:
                report = search(mutation.where, rules, limit=options.limit)
            wrong += _tell(f"without {mutation.name}", report, found=True)
    if options.walks:
        for faults in options.faults:
            report = walk(_with(sizes.WALKS, faults), options.seed, options.walks, seconds=options.seconds)
            wrong += _tell(f"walks with up to {faults} faults", report, found=False)
            print(f"{'':40} {report.faults:,} faults")
    return wrong


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--long", action="store_true", help="also the worlds that take minutes")
    parser.add_argument("--only", default="", help="worlds whose name holds this word")
    parser.add_argument("--limit", type=int, default=3_000_000, help="states of one world (default: %(default)s)")
    parser.add_argument("--mutations", action="store_true", help="switch off each mechanism: every line must find one")
    parser.add_argument("--walks", type=int, default=0, help="random walks with everything at once")
    parser.add_argument("--seconds", type=float, default=0.0, help="end the walks of one line after this time")
    parser.add_argument("--faults", type=int, nargs="*", default=[3, 5, 8], help="faults of a walk (default: 3 5 8)")
    parser.add_argument("--seed", type=int, default=1, help="of the walks (default: %(default)s)")
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> dict[str, Size]:
    known = sizes.CI | (sizes.MORE if options.long or options.only else {})
    return {name: size for name, size in known.items() if options.only in name}


def _with(size: Size, faults: int) -> Size:
    return dataclasses.replace(size, faults=faults)


def _tell(name: str, report: Report, *, found: bool) -> int:
    print(f"{name:40} {report.line()}", flush=True)
    if not found and report.trace:
        print("\n".join(report.trace), flush=True)
    return int(bool(report.violation) is not found)


if __name__ == "__main__":
    sys.exit(main())
