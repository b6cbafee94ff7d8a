"""The conformance suite of retrievers: every engine passes it. An engine is added to ``ENGINES``."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley_rag.retrieval import EmbeddedRetriever, Query, Retriever
from parley_rag.retrieval.index import PassageIndex, analyse
from parley_runtime.store.ports import StoredPassage

pytestmark = pytest.mark.unit

ENGINES: dict[str, Callable[[], Retriever]] = {"embedded": EmbeddedRetriever}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Retriever:
    return ENGINES[request.param]()


def passage(text: str, *, start: int = 0, title: str = "T") -> StoredPassage:
    return StoredPassage(id=f"{hash((text, start)):x}", title=title, text=text, start=start, end=start + len(text))


async def put(
    engine: Retriever, document: str, *texts: str, tenant: str = "t", kb: str = "kb", title: str = ""
) -> None:
    at, passages = 0, []
    for text in texts:
        passages.append(passage(text, start=at, title=title or document))
        at += len(text) + 2
    await engine.upsert(tenant, kb, document, title or document, passages)


async def found(engine: Retriever, query: str, *, tenant: str = "t", kb: str = "kb", context: str = "") -> list[str]:
    return [source.document for source in await engine.search(tenant, kb, Query(query, context), 10)]


async def test_a_source_says_where_it_is_from(engine: Retriever) -> None:
    await put(engine, "a/b.md", "unrelated words", "the red lever starts the pump", title="Pumps")
    (source, *_) = await engine.search("t", "kb", Query("red lever"), 5)
    assert (source.document, source.title, source.kb) == ("a/b.md", "Pumps", "kb")
    assert source.text == "the red lever starts the pump"
    assert (source.start, source.end) == (17, 46)
    assert source.score > 0


async def test_the_best_comes_first_and_scores_fall(engine: Retriever) -> None:
    await put(engine, "far.md", "a pump is in the cellar; elsewhere there is also a lever, and it is red")
    await put(engine, "near.md", "pull the red lever of the pump")
    await put(engine, "none.md", "nothing of the kind")
    sources = await engine.search("t", "kb", Query("red lever pump"), 5)
    assert [source.document for source in sources] == ["near.md", "far.md"]
    assert sources[0].score > sources[1].score


async def test_limit(engine: Retriever) -> None:
    await put(engine, "a.md", *(f"pump number {i}" for i in range(20)))
    assert len(await engine.search("t", "kb", Query("pump"), 7)) == 7
    assert await engine.search("t", "kb", Query("pump"), 0) == []


async def test_upsert_replaces_and_remove_forgets(engine: Retriever) -> None:
    await put(engine, "a.md", "old pump", "second valve")
    await put(engine, "a.md", "new turbine", "second valve")
    assert await found(engine, "pump") == []
    assert await found(engine, "turbine") == ["a.md"]
    assert await found(engine, "valve") == ["a.md"]
    assert engine.size() == 2
    await engine.remove("t", "kb", "a.md")
    await engine.remove("t", "kb", "a.md")
    assert await found(engine, "turbine") == []
    assert engine.size() == 0


async def test_an_upsert_without_passages_removes(engine: Retriever) -> None:
    await put(engine, "a.md", "pump")
    await engine.upsert("t", "kb", "a.md", "T", [])
    assert await found(engine, "pump") == []


async def test_bases_and_tenants_see_nothing_of_each_other(engine: Retriever) -> None:
    await put(engine, "a.md", "pump alpha", tenant="t1", kb="k1")
    await put(engine, "b.md", "pump beta", tenant="t1", kb="k2")
    await put(engine, "c.md", "pump gamma", tenant="t2", kb="k1")
    assert await found(engine, "pump", tenant="t1", kb="k1") == ["a.md"]
    assert await found(engine, "pump", tenant="t1", kb="k2") == ["b.md"]
    assert await found(engine, "pump", tenant="t2", kb="k1") == ["c.md"]
    assert await found(engine, "pump", tenant="t2", kb="k2") == []
    await engine.remove("t1", "k1", "c.md")
    assert await found(engine, "gamma", tenant="t2", kb="k1") == ["c.md"]
    before = await engine.search("t1", "k1", Query("pump alpha"), 5)
    await put(engine, "d.md", *(["pump alpha"] * 50), tenant="t2", kb="k1")
    assert await engine.search("t1", "k1", Query("pump alpha"), 5) == before


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("水泵怎么启动", "启动.md"),
        ("如何清洗过滤器？", "清洗.md"),
        ("过滤器", "清洗.md"),
        ("rabbitmq 队列", "队列.md"),
        ("阀", "启动.md"),
        ("How is the queue named", "queue.md"),
        ("starting pumps", "pumps.md"),
        ("apt-get", "apt.md"),
        ("deliveryLimit", "limit.md"),
    ],
)
async def test_chinese_english_and_identifiers(engine: Retriever, query: str, document: str) -> None:
    await put(engine, "启动.md", "按下红色按钮后，水泵开始启动，阀门自动打开。")
    await put(engine, "清洗.md", "每个月拆下过滤器，用清水清洗。")
    await put(engine, "队列.md", "RabbitMQ 的每个队列都有名字。")
    await put(engine, "queue.md", "Every queue has a name that begins with the service.")
    await put(engine, "pumps.md", "The pump is started with the red button.")
    await put(engine, "apt.md", "Run apt-get update first.")
    await put(engine, "limit.md", "Set delivery_limit in the policy.")
    assert (await found(engine, query))[0] == document


async def test_headings_find_their_passages(engine: Retriever) -> None:
    await put(engine, "a.md", "Turn it twice and wait.", title="Emergency shutdown")
    await put(engine, "b.md", "An emergency is rare. Nobody has seen one.", title="History")
    assert (await found(engine, "emergency shutdown"))[0] == "a.md"


async def test_context_counts_less_than_the_question(engine: Retriever) -> None:
    await put(engine, "a.md", "The pump weighs nine kilograms.")
    await put(engine, "b.md", "The valve has a price of ten.")
    await put(engine, "c.md", "The pump has a price of twenty.")
    assert await found(engine, "price", context="pump") == ["c.md", "b.md", "a.md"]


@pytest.mark.parametrize(
    "query",
    ["", " \n\t", "?!。，", "zzzqqq", "\0", "\ud800", "' OR 1=1 --", "(((", "a" * 100_000, "的" * 5_000, "𠀀𠀁", "🙂"],
)
async def test_any_text_is_a_query(engine: Retriever, query: str) -> None:
    await put(engine, "a.md", "plain words about a pump")
    assert await found(engine, query) == []


async def test_a_very_long_question_still_finds(engine: Retriever) -> None:
    await put(engine, "a.md", "the pump in the cellar")
    words = " ".join(f"word{i}" for i in range(100))
    assert await found(engine, f"pump {words}") == ["a.md"]


async def test_same_results_in_any_order_and_after_changes(engine: Retriever) -> None:
    rng = random.Random(7)
    words = ["pump", "valve", "lever", "queue", "水泵", "阀门", "启动", "压力", "the", "of", "red"]
    documents = {f"d{i}.md": [" ".join(rng.choices(words, k=12)) for _ in range(4)] for i in range(40)}
    for name, texts in documents.items():
        await put(engine, name, *texts)
    for name in list(documents)[::3]:
        await put(engine, name, "something else entirely")
        await engine.remove("t", "kb", name)
    for name in reversed(list(documents)[::3]):
        await put(engine, name, *documents[name])
    rebuilt = type(engine)()
    for name in sorted(documents, reverse=True):
        await put(rebuilt, name, *documents[name])
    for query in ("red pump", "水泵启动压力", "queue", "阀门 lever"):
        expected = await rebuilt.search("t", "kb", Query(query), 20)
        assert await engine.search("t", "kb", Query(query), 20) == expected
        assert len(expected) == 20


async def test_searches_go_on_while_a_large_document_is_put(engine: Retriever) -> None:
    await put(engine, "a.md", "the pump")
    writing = asyncio.create_task(put(engine, "big.md", *(f"passage {i} about valves" for i in range(500))))
    results = []
    while not writing.done():
        results.append(await found(engine, "pump"))
        await asyncio.sleep(0)
    await writing
    assert len(results) > 1
    assert all(result == ["a.md"] for result in results)
    assert engine.size() == 501


def test_what_is_removed_takes_no_memory() -> None:
    index = PassageIndex()
    kept = index.add(("a.md", 0), analyse("Pumps", "the red pump"))
    before = index.vocabulary
    for number in range(50):
        index.remove(index.add(("b.md", 0), analyse(f"Title{number}", f"the word{number} of once")))
    assert index.vocabulary == before
    assert index.search("red pump", 5)[0][0] == kept
    assert index.search("word7", 5) == []


TEXTS = st.lists(st.text(alphabet="ab 中文c.", min_size=1, max_size=20), min_size=0, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), TEXTS), max_size=12), st.text(alphabet="ab 中文", max_size=8))
def test_any_history_equals_a_rebuild(history: list[tuple[str, list[str]]], query: str) -> None:
    async def compare() -> None:
        for make in ENGINES.values():
            lived, rebuilt = make(), make()
            for document, texts in history:
                await put(lived, document, *texts)
            for document, texts in dict(history).items():
                await put(rebuilt, document, *texts)
            assert lived.size() == rebuilt.size()
            assert await lived.search("t", "kb", Query(query), 9) == await rebuilt.search("t", "kb", Query(query), 9)

    asyncio.run(compare())
