"""Hours of silence through one listener with Silero and the engine that listens by default: ``python -m
bench.voice.silence`` (``--hours 3``). As fast as it goes, on one core.

Silence is what microphones make of it: zeros, noise at -60 dB, mains hum on an offset, in turn for a third of the time
each. Prints what the process holds, what a second of audio costs and what has been heard, for each part of the time;
ends with 1 where anything has been heard, or memory or cost have grown.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import psutil

from bench.tables import table
from parley_asr.engine import RATE, Hint
from parley_asr.engines.moonshine import MoonshineSettings, MoonshineTranscriber
from parley_asr.listener import Listener, Parts
from parley_asr.silero import SileroModel
from parley_protocol.audio import Hearing, Mark

PARTS = 18
"""Of which each line of the table is one: ten minutes of three hours."""
GROWTH_MIB = 8.0
COST = 2.0
"""A part may cost so many times the cheapest one; what else runs on the machine moves it."""

_CHANCE = np.random.default_rng(1)
_HUM = 0.02 * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE) + 0.1
KINDS: dict[str, Callable[[], np.ndarray]] = {
    "zeros": lambda: np.zeros(RATE),
    "noise, -60 dB": lambda: _CHANCE.standard_normal(RATE) * 0.001,
    "hum on an offset": lambda: _HUM,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0)
    seconds = int(parser.parse_args().hours * 3600 / PARTS)
    engine = MoonshineTranscriber(MoonshineSettings())
    listener = Listener(Hearing(by_silence=True), 0, 0, Parts(SileroModel().stream, lambda: engine.open(Hint())))
    process, events = psutil.Process(), list[object]()
    rows, held, costs = list[list[str]](), list[float](), list[float]()
    for part in range(PARTS):
        kind = list(KINDS)[part * len(KINDS) // PARTS]
        began = time.process_time()
        for _ in range(seconds):
            events += listener.feed((KINDS[kind]() * 32_767).astype("<i2").tobytes())
        costs.append((time.process_time() - began) / seconds * 1000)
        held.append(process.memory_info().rss / 2**20)
        behind = (listener.taken - listener.keep) / 2 / RATE
        rows.append([f"{(part + 1) * seconds / 60:.0f}", kind, f"{held[-1]:.1f}", f"{costs[-1]:.2f}", f"{behind:.1f}"])
        sys.stderr.write(f"{rows[-1]}\n")
    (last,) = listener.feed(b"", Mark.END)
    engine.close()
    print(table(["minutes", "of", "process MiB", "CPU ms per s of audio", "kept for another worker, s"], rows))
    print(f"\nHeard: {events}, at the end {last}")
    calm = not events and not getattr(last, "text", "?")
    return 0 if calm and max(held) - held[0] < GROWTH_MIB and max(costs) < COST * min(costs) else 1


if __name__ == "__main__":
    sys.exit(main())
