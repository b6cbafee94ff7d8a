"""The turn protocol over its real state machines: every reachable state of small worlds, and what mutations show."""

import pytest

from .explore import search, walk
from .mutations import MUTATIONS, Mutation
from .sizes import CI, WALKS

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", CI)
def test_no_reachable_state_breaks_an_invariant(name: str) -> None:
    report = search(CI[name], limit=200_000)
    assert report.complete
    assert not report.violation, "\n".join(report.trace)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mechanism_is_needed(mutation: Mutation) -> None:
    with mutation.applied() as rules:
        report = search(mutation.where, rules, limit=60_000)
    assert report.violation.startswith(mutation.sees), report.violation


def test_random_walks_with_many_faults_end_well() -> None:
    report = walk(WALKS, seed=1, walks=100, seconds=15.0)
    assert report.faults > 0
    assert not report.violation, "\n".join(report.trace)


def test_a_trace_leads_from_the_start_to_what_is_wrong() -> None:
    mutation = next(mutation for mutation in MUTATIONS if mutation.name == "row reads")
    with mutation.applied() as rules:
        report = search(mutation.where, rules)
    assert report.trace[0].split() == ["1", "start", "0", "g0"]
    assert sum("FAULT" in line for line in report.trace) == 1
    assert report.trace[-1].strip() == "=> stuck"


def test_a_search_gives_the_same_figures_again() -> None:
    first, second = search(CI["one fault: stall"]), search(CI["one fault: stall"])
    assert (first.states, first.steps) == (second.states, second.steps)
