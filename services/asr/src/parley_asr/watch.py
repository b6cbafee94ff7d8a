"""What time does to streams: leases grow old, audio fails to come, engines do not come back."""

import asyncio

from parley_asr.options import ListenOptions
from parley_asr.stream import Stream
from parley_asr.streams import Streams
from parley_runtime.errors import EngineTimeout, Expired

TICK_S = 0.25


async def watch(streams: Streams, options: ListenOptions) -> None:
    """Look at each of them now and then, for ever."""
    while True:
        await asyncio.sleep(TICK_S)
        now = asyncio.get_running_loop().time()
        for stream in streams:
            look(streams, stream, options, now)


def look(streams: Streams, stream: Stream, options: ListenOptions, now: float) -> None:
    """What is to be done about this one."""
    if stream.delivery.alive:
        stream.last_alive = now
    if now - stream.last_alive > options.grace_s:
        streams.forget(stream, "lost")
    elif stream.moving_since is not None:
        if now - stream.moving_since > options.grace_s:
            streams.let_go(stream, "moved")
    elif stream.stuck_s > options.stuck_s:
        streams.fail(stream, EngineTimeout("The recogniser does not come back."))
    elif options.idle_s and now - stream.last_audio > options.idle_s:
        streams.fail(stream, Expired(f"No audio came for {options.idle_s:g} seconds."))
    elif now - stream.since > options.lease_s:
        streams.move(stream, "the lease is old")
