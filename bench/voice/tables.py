"""The results as tables."""

import math
from collections.abc import Sequence

from bench.stack import quantile
from bench.tables import table
from bench.voice.accuracy import Accuracy
from bench.voice.answering import Soon
from bench.voice.batching import ACTIVITY, Batching
from bench.voice.early import Sooner
from bench.voice.failover import Failover
from bench.voice.load import HOLDS_MS, Level
from bench.voice.measure import Voice


def voice(found: Voice) -> str:
    """One after the other; what is missing is said."""
    parts = []
    if found.accuracy is not None:
        parts.append(accuracy(found.accuracy))
    if found.batches:
        parts.append(batches(found.batches))
    if found.levels:
        parts += [levels(found.levels), held(found.levels)]
    if found.failovers:
        parts.append(failovers(found.failovers))
    if found.answers:
        parts.append(answers(found.answers))
    if found.early:
        parts.append(sooner(found.early))
    parts += [f"Not measured: {what}: {why}" for what, why in found.missing.items()]
    return "\n\n".join(parts)


def accuracy(found: Accuracy) -> str:
    """Word error rate, with the knowledge base's words and without."""
    rows = []
    for row in found.rows:
        if row.words:
            continue
        same = (row.engine, row.clips)
        knowing = next(one for one in found.rows if one.words and (one.engine, one.clips) == same)
        rows.append(
            [
                f"{row.engine} ({row.model})",
                row.clips,
                f"{row.count}, {row.seconds:.0f} s",
                f"{row.wer:.1%}",
                f"{knowing.wer:.1%}",
                f"{row.factor:.2f}",
                f"{knowing.factor:.2f}",
            ]
        )
    head = ["engine", "clips", "of them", "word error rate", "with the knowledge base's words"]
    notes = [f"Recorded speech: {found.recordings}."]
    notes += [f"{name} cannot be used here: {why}" for name, why in found.absent.items()]
    return table([*head, "CPU s per s of audio", "with the words"], rows) + "\n\n" + " ".join(notes)


def batches(found: Sequence[Batching]) -> str:
    """With batches and without."""
    rows = [
        [
            "silero, voice activity (CPU time)" if row.engine == ACTIVITY else f"{row.engine}, random weights",
            f"{row.streams}, {row.audio_s:.0f} s",
            str(row.most),
            f"{row.alone_s:.2f}",
            f"{row.together_s:.2f}",
            f"{row.alone_s / row.together_s:.2f}x",
            f"{row.same} of {row.streams}",
        ]
        for row in found
    ]
    head = [
        "model that batches",
        "streams at once",
        "most in a batch",
        "without batches s",
        "with s",
        "",
        "heard the same",
    ]
    return table(head, rows)


def _pair(values: tuple[float, float]) -> str:
    return "" if math.isnan(values[0]) else f"{values[0]:.0f} / {values[1]:.0f}"


def levels(found: Sequence[Level]) -> str:
    """Each level on both systems."""
    rows = [
        [
            f"{row.engine}, {row.streams}",
            row.system,
            _pair(row.first),
            _pair(row.lag),
            _pair(row.final),
            _pair(row.accepted),
            f"{row.wait:.1f}" if row.wait else "",
            ", ".join(f"{role} {value:.1f}" for role, value in row.cpu_ms.items()),
            f"{row.factor * 1000:.1f}",
            f"{row.wrong} of {row.said}",
            f"{row.late:.0f}",
            row.refused,
        ]
        for row in found
    ]
    head = [
        "engine, streams",
        "system",
        "first update p50 / p95 ms",
        "lag",
        "final after stop",
        "turn accepted after stop",
    ]
    head += [
        "queue wait, mean ms",
        "CPU ms per s of audio",
        "all",
        "texts that differ",
        "client late p95 ms",
        "refused",
    ]
    return table(head, rows)


def held(found: Sequence[Level]) -> str:
    """The most streams whose last words came in time, and the price against the plain server."""
    rows = []
    for engine in dict.fromkeys(row.engine for row in found):
        mine = {row.streams: row for row in found if row.engine == engine and row.system == "Parley"}
        theirs = {row.streams: row for row in found if row.engine == engine and row.system != "Parley"}
        both = [streams for streams in mine if streams in theirs and mine[streams].holds and theirs[streams].holds]
        best = [str(max((row.streams for row in each.values() if row.holds), default=0)) for each in (mine, theirs)]
        price = "nothing held by both"
        if both:
            a, b = mine[max(both)], theirs[max(both)]
            price = f"{a.final[0] - b.final[0]:+.0f} / {a.final[1] - b.final[1]:+.0f} ms"
            cpu = f"{(a.factor - b.factor) * 1000:+.1f} ms ({a.factor / b.factor:.2f}x)" if b.factor else ""
            rows.append([engine, *best, str(max(both)), price, cpu])
        else:
            rows.append([engine, *best, "", price, ""])
    head = [f"held: last word within {HOLDS_MS:.0f} ms (p95)", "streams, Parley", "streams, plain server"]
    head += ["at streams", "final after stop p50 / p95, Parley over plain", "CPU per s of audio, Parley over plain"]
    return table(head, rows)


def failovers(found: Sequence[Failover]) -> str:
    """Kills in mid-sentence."""
    rows = [
        [
            row.engine,
            str(row.kills),
            f"{row.same} of {row.kills}",
            f"{row.p50_s:.2f} / {row.worst_s:.2f}",
            f"{row.usual_s:.2f}",
            f"{quantile(row.laters, 0.5):.2f} / {row.latest_s:.2f}",
            f"{sorted(row.finals)[len(row.finals) // 2]:.2f} / {max(row.finals):.2f}",
            f"{row.usual_final_s:.2f}",
        ]
        for row in found
    ]
    head = ["listener killed with SIGKILL in mid-sentence", "kills", "transcripts as undisturbed"]
    head += [
        "longest wait for a new word p50 / worst s",
        "undisturbed",
        "words later than undisturbed p50 / worst s",
        "final after stop p50 / worst s",
        "undisturbed",
    ]
    return table(head, rows)


def answers(found: Sequence[Soon]) -> str:
    """Spoken answers, and their being interrupted."""
    rows = [
        [
            row.what,
            str(len(row.ms)),
            f"{row.p50:.0f}",
            f"{row.p95:.0f}",
            f"{row.worst:.0f}",
            f"{row.bar:g}" if row.bar else "",
        ]
        for row in found
    ]
    return table(["spoken answers, by espeak-ng", "times", "p50 ms", "p95", "worst", "bar (worst)"], rows)


def sooner(found: Sequence[Sooner]) -> str:
    """With early retrieval and without."""
    rows = [
        [
            row.hears,
            row.index,
            "yes" if row.early else "no",
            f"{row.used} of {len(row.sources)}",
            *(f"{quantile(row.sources, q):.1f}" for q in (0.5, 0.95)),
            *(f"{quantile(row.all, q):.0f}" for q in (0.5, 0.95)),
        ]
        for row in found
    ]
    head = ["recogniser", "index of 10,000 passages", "early retrieval", "searches spared"]
    head += ["transcript to sources p50 ms", "p95", "last sample to sources p50 ms (600 ms are silence)", "p95"]
    return table(head, rows)
