"""Reading happens off the loop, bounded in time and memory; a child that dies harms one document only."""

import asyncio

import pytest

from parley_rag.documents import Limits
from parley_rag.reader import IN_THREAD, Bounds, DocumentReader
from parley_runtime.errors import Invalid, Unavailable

pytestmark = pytest.mark.unit


def reader(limits: Limits | None = None, **bounds: float) -> DocumentReader:
    return DocumentReader(limits or Limits(), Bounds(**bounds))


async def test_a_small_document_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no child is needed")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    prepared = await reader().read("k", "a.md", "", b"# Top\n\ntext")
    assert (prepared.title, [passage.text for passage in prepared.passages]) == ("Top", ["text"])


async def test_a_large_document_is_read_in_a_child_alike() -> None:
    text = "# Top\n\n" + "A sentence about pumps. " * (IN_THREAD // 20)
    prepared = await reader().read("k", "a.md", "", text.encode())
    assert prepared.title == "Top"
    assert len(prepared.passages) > 100
    assert sum(len(passage.text) for passage in prepared.passages) > IN_THREAD


async def test_the_loop_stays_free_meanwhile() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await reader().read("k", "a.md", "", b"word. " * 200_000)
    ticking.cancel()
    assert ticks > 10


async def test_a_refusal_in_the_child_keeps_its_words() -> None:
    with pytest.raises(Invalid, match="the PDF is damaged"):
        await reader().read("k", "a.pdf", "", b"%PDF-1.4 rubbish")


async def test_time_is_bounded() -> None:
    with pytest.raises(Invalid, match=r"longer than 0.01 s"):
        await reader(seconds=0.01).read("k", "a.md", "", b"word. " * 100_000)


async def test_memory_is_bounded() -> None:
    with pytest.raises(Invalid, match=r"memory"):
        await reader(memory=60 * 1024**2).read("k", "a.md", "", b"# x\n\nword. " * 900_000)


async def test_size_is_bounded_before_anything_runs() -> None:
    with pytest.raises(Invalid, match="PARLEY_MAX_DOCUMENT"):
        await reader(Limits(document=10)).read("k", "a.md", "", b"x" * 11)


async def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
    with pytest.raises(Unavailable, match="try again"):
        await reader().read("k", "a.pdf", "", b"%PDF-1.4")


async def test_a_cancelled_read_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.subprocess.Process] = []
    started = asyncio.Event()
    real = asyncio.create_subprocess_exec

    async def remember(*args: str, **options: object) -> asyncio.subprocess.Process:
        made.append(await real(*args, **options))
        started.set()
        return made[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", remember)
    reading = asyncio.create_task(reader().read("k", "a.md", "", b"word. " * 500_000))
    async with asyncio.timeout(30):
        await started.wait()
    reading.cancel()
    await asyncio.wait({reading})
    assert made[0].returncode is not None


async def test_the_child_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    real = asyncio.create_subprocess_exec

    async def look(*args: str, env: dict[str, str], **options: object) -> asyncio.subprocess.Process:
        seen.update(env)
        return await real(*args, env=env, **options)

    monkeypatch.setenv("AMQP_URL", "amqp://user:secret@host/")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", look)
    with pytest.raises(Invalid):
        await reader().read("k", "a.pdf", "", b"%PDF-1.4")
    assert "PATH" in seen
    assert "AMQP_URL" not in seen
