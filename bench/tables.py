"""Each measurement's result as a table."""

from collections.abc import Sequence

from bench.cancel import Cancels
from bench.dialects import Row
from bench.house import ROLES
from bench.idle import Idle
from bench.latency import Latencies
from bench.path import OneTurn
from bench.price import Price
from bench.price import Result as Prices
from bench.recovery import Recovery
from bench.saturation import Result as Saturation
from bench.slow import Slow
from bench.throughput import Flow

PROCESSES = (*ROLES, "broker", "client")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def throughput(flows: Sequence[Flow]) -> str:
    """Events per second, ratios and CPU."""
    base = flows[0].events_s
    rows = [
        [
            flow.name,
            f"{flow.events_s:,.0f}",
            f"{flow.events_s / base:.1f}x",
            f"{flow.frames_s:,.0f}",
            *(f"{flow.cpu_us[process]:.1f}" for process in ("gateway", "worker", "broker")),
        ]
        for flow in flows
    ]
    head = ["to 50 sockets", "events/s", "ratio", "frames/s", "gateway us/event", "worker us/event", "broker us/event"]
    return table(head, rows)


def dialects(rows: Sequence[Row]) -> str:
    """Turns per second, CPU and the ratio to native."""
    cells = [
        [
            row.name,
            f"{row.turns_s:,.0f}",
            *(f"{row.cpu_us[process]:,.0f}" for process in (*ROLES, "broker")),
            f"{row.total_us:,.0f}",
            f"{row.ratio:.2f}x",
        ]
        for row in rows
    ]
    head = [
        "16 sockets, each asks again at once",
        "turns/s",
        *(f"{role} us/turn" for role in ROLES),
        "broker",
        "all",
        "",
    ]
    return table(head, cells)


def latency(rows: Sequence[Latencies]) -> str:
    """Milliseconds."""
    cells = [
        [row.name, *(f"{value:.2f}" for value in (row.first_p50, row.first_p99, row.whole_p50, row.whole_p99))]
        for row in rows
    ]
    return table(["one turn at a time, ms", "first token p50", "p99", "whole turn p50", "p99"], cells)


def path(found: OneTurn) -> str:
    """Milliseconds of each part, and CPU."""
    rows = [[step.to, step.what, f"{step.p50:.2f}", f"{step.p99:.2f}"] for step in found.steps]
    cpu = [[f"{found.cpu_us[process]:,.0f}" for process in PROCESSES]]
    return "\n\n".join(
        (
            table(["one turn at a time: time to", "part", "p50 ms", "p99"], rows),
            table(
                [f"CPU us of such a turn: {process}" if not i else process for i, process in enumerate(PROCESSES)], cpu
            ),
        )
    )


def idle(rows: Sequence[Idle]) -> str:
    """Memory and broker operations."""
    cells = [[row.name, f"{row.kib:.1f}", f"{row.operations:.2f}"] for row in rows]
    return table(["5,000 idle connections", "KiB each", "broker operations per connect and disconnect"], cells)


def saturation(found: Saturation) -> str:
    """The peaks, then latency below the first."""
    rows = [
        [
            peak.layout,
            str(peak.sessions),
            f"{peak.turns_s:,.0f}",
            f"{peak.first_p50:.0f}",
            f"{peak.whole_p50:.0f} / {peak.whole_p99:.0f}",
            *(f"{peak.cpu_us[process]:,.0f}" for process in PROCESSES),
            f"{peak.ours:.0%} of {peak.busy:.0%}",
        ]
        for peak in found.peaks
    ]
    head = ["saturated: gateways / rag / inference", "sessions", "turns/s", "first token p50 ms", "turn p50 / p99 ms"]
    head += [f"us CPU/turn: {process}" if not i else process for i, process in enumerate(PROCESSES)]
    head.append("CPU of the machine: ours, of all in use")
    at, load = found.loaded.times, found.loaded
    cells = [
        [
            f"{load.share:.0%} of the first peak, arrivals by chance",
            f"{load.turns_s:,.0f}",
            f"{at.first_p50:.1f}",
            f"{at.first_p99:.1f}",
            f"{at.whole_p50:.1f}",
            f"{at.whole_p99:.1f}",
            str(at.failed),
            f"{load.busy:.0%}",
            f"{at.lag_p99:.1f}",
        ]
    ]
    names = ["open loop, ms from when a turn was due", "turns/s", "first token p50", "p99", "turn p50", "p99"]
    names += ["turns not answered", "machine busy", "client's own lag p99"]
    return table(head, rows) + "\n\n" + table(names, cells)


def recovery(rows: Sequence[Recovery]) -> str:
    """Seconds."""
    cells = [
        [
            row.name,
            row.what,
            str(len(row.seconds)),
            f"{row.p50:.3f}",
            f"{row.p95:.3f}",
            f"{max(row.seconds):.3f}",
            f"{row.bar:g}" if row.bar else "",
            str(row.restarted),
        ]
        for row in rows
    ]
    head = ["killed with SIGKILL", "until", "kills", "p50 s", "p95", "worst", "bar (p95)", "answers begun anew"]
    note = "The broker's times, but for `degraded`, count from the moment its port answers again."
    return table(head, cells) + "\n\n" + note


def cancel(rows: Sequence[Cancels]) -> str:
    """Milliseconds."""
    cells = [
        [
            row.load,
            row.what,
            str(row.count),
            f"{row.p50:.1f}",
            f"{row.p99:.1f}",
            f"{row.worst:.1f}",
            f"{row.bar:g}" if row.bar else "",
        ]
        for row in rows
    ]
    return table(["cancel, from the frame's write", "until", "cancels", "p50 ms", "p99", "worst", "bar (p99)"], cells)


def slow(rows: Sequence[Slow]) -> str:
    """MiB, and the others' latency."""
    cells = [
        [
            f"{row.sessions:,} sessions {row.name}",
            *(f"{row.before[role]:.0f} / {row.during[role]:.0f} / {row.after[role]:.0f}" for role in ROLES),
            f"{row.sessions * row.answer_kib / 1024:.0f}",
            str(row.closed),
            f"{row.others.first_p50:.1f} / {row.others.first_p99:.1f}",
            f"{row.others.whole_p99:.1f}",
            str(row.others.failed),
        ]
        for row in rows
    ]
    head = ["MiB before / most / after", *ROLES, "MiB of answers", "sockets closed", "others' first token p50 / p99 ms"]
    return table([*head, "turn p99", "not answered"], cells)


def _ratio(values: tuple[float, float, float], mark: str = "x") -> str:
    low, middle, high = values
    return f"{middle:.2f}{mark} ({low:.2f} to {high:.2f})"


def price(found: Prices) -> str:
    """As shipped, then a ratio for each."""
    on = found.on
    middle = [sorted(getattr(one, name) for one in on)[len(on) // 2] for name in ("first_ms", "whole_ms")]
    base = f"{len(on)} rounds; as shipped: first token {middle[0]:.2f} ms, turn {middle[1]:.2f} ms alone; "
    base += f"{sorted(one.turns_s for one in on)[len(on) // 2]:,.0f} turns/s, "
    base += f"{sorted(one.cpu_us for one in on)[len(on) // 2]:,.0f} us of CPU a turn, at the peak"
    rows = [_price(one) for one in found.prices]
    head = ["price of a guarantee: with it / without", "first token", "whole turn", "CPU of a turn", "turns/s lost"]
    return table(head, rows) + f"\n\n{base}. Ratios are made within a round: median (range); above 1 is the price."


def _price(one: Price) -> list[str]:
    return [f"{one.name}: {one.what}", _ratio(one.first), _ratio(one.whole), _ratio(one.cpu), _ratio(one.rate)]
