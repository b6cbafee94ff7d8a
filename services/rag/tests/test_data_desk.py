"""From questions to figures: over a real store, every number checked by hand."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parley_protocol.events import Source
from parley_protocol.ids import TurnKey
from parley_protocol.readings import DropReadings, MetricData, PutReadings
from parley_protocol.work import KnowledgeReply, Retrieve
from parley_rag.data.desk import Answer, DataDesk, DataSettings
from parley_rag.handler import RetrieveHandler
from parley_rag.retrieval import EmbeddedRetriever
from parley_runtime.config import read
from parley_runtime.errors import ConfigError, Invalid
from parley_runtime.store import open_store
from parley_runtime.store.ports import Exchange, Store

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 28, 18, 30, tzinfo=UTC)


class Lab:
    """A desk at a fixed time, on a store of its own."""

    def __init__(self, store: Store, **settings: object) -> None:
        self.store = store
        self.desk = DataDesk(store.readings, DataSettings(**settings), NOW.timestamp)

    async def put(self, *rows: str, **fields: object) -> KnowledgeReply:
        body = "\n".join(["metric,sensor,timestamp,value,unit", *rows]).encode()
        return await self.desk.put(PutReadings(call="c", reply_to="g", tenant="t", data=body, **fields))

    async def ask(self, question: str, *history: str, **context: object) -> Answer:
        past = [Exchange(str(i), text, "") for i, text in enumerate(history)]
        found = await self.desk.answer("t", question, context or None, past)
        assert found is not None
        return found


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path / 'p.db'}")
    yield Lab(store)
    await store.aclose()


async def three(lab: Lab) -> None:
    await lab.put(
        "temp,pond-1,2026-11-27T08:00:00Z,20.50,℃",
        "temp,pond-1,2026-11-27T16:00:00Z,24.0,℃",
        "temp,pond-2,2026-11-28T18:00:00Z,22.10,℃",
    )


async def test_the_newest_of_each_sensor(lab: Lab) -> None:
    await three(lab)
    found = await lab.ask("水温是多少？")
    assert found.text == "水温最新读数（UTC）：22.10℃（pond-2，2026-11-28 18:00）；24.0℃（pond-1，2026-11-27 16:00）。"
    (data,) = found.data
    assert [(one.value, one.sensor, one.timestamp, one.unit) for one in data.readings] == [
        ("22.10", "pond-2", "2026-11-28T18:00:00+00:00", "℃"),
        ("24.0", "pond-1", "2026-11-27T16:00:00+00:00", "℃"),
    ]


async def test_figures_of_a_day_in_both_languages(lab: Lab) -> None:
    await three(lab)
    assert (await lab.ask("昨天水温最高和平均是多少")).text == (
        "昨天水温（2 条读数，2026-11-27 08:00 至 2026-11-27 16:00 UTC）："
        "最高 24.0℃（pond-1，2026-11-27 16:00）；平均 22.250℃。"
    )
    found = await lab.ask("lowest water temperature yesterday")
    assert found.text == (
        "Water temperature, yesterday (2 readings, 2026-11-27 08:00 to 2026-11-27 16:00 UTC): "
        "lowest 20.50 ℃ (pond-1, 2026-11-27 08:00)."
    )
    assert [one.value for one in found.data[0].readings] == ["24.0", "20.50"]


async def test_recent_readings_are_the_newest_held_and_old_ones_are_dated(lab: Lab) -> None:
    await lab.put(*(f"temp,s,2026-10-{day:02},{day}.0,℃" for day in range(1, 31)))
    found = await lab.ask("查询最近的水温数据")
    assert [one.value for one in found.data[0].readings] == [f"{day}.0" for day in range(30, 10, -1)]
    assert found.text.startswith("水温（20 条读数，2026-10-11 00:00 至 2026-10-30 00:00 UTC）：最新 30.0℃")
    assert found.text.endswith("注意：最新的读数来自 2026-10-30，已是 29 天前。")
    assert len((await lab.ask("last 3 water temperature readings")).data[0].readings) == 3


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("今天水温比昨天高吗", "比较：今天水温平均 22.100℃，昨天平均 22.250℃，低 0.150℃。"),
        ("昨天的水温和今天对比一下", "比较：今天水温平均 22.100℃，昨天平均 22.250℃，低 0.150℃。"),
        ("今天最高水温比昨天低多少", "比较：今天水温最高 22.10℃，昨天最高 24.0℃，低 1.90℃。"),
        (
            "Is the water temperature lower today than yesterday?",
            "Compared: water temperature, today, mean 22.100 ℃; yesterday, mean 22.250 ℃: 0.150 ℃ lower.",
        ),
    ],
)
async def test_two_times_are_compared(lab: Lab, question: str, line: str) -> None:
    await three(lab)
    found = await lab.ask(question)
    assert found.text.split("\n\n")[-1] == line
    assert len(found.text.split("\n\n")) == 3
    assert [one.value for one in found.data[0].readings] == ["22.10", "24.0", "20.50"]


async def test_the_newest_readings_are_compared_with_a_day(lab: Lab) -> None:
    await three(lab)
    await lab.put("ph,a,2026-11-27T08:00:00Z,7.5,", "ph,a,2026-11-28T08:00:00Z,8.00,")
    text = (await lab.ask("现在的pH比昨天高多少")).text
    assert text.endswith("比较：pH最新 8.00，昨天平均 7.50，高 0.50。")
    text = (await lab.ask("现在水温比昨天高吗")).text
    assert text.endswith("比较：水温最新 22.10℃，昨天平均 22.250℃，低 0.150℃。")
    await lab.put("temp,pond-3,2026-11-28T18:10:00Z,24.10,℃")
    for question in ("水温比昨天高多少", "现在水温和昨天相比高吗"):
        text = (await lab.ask(question)).text
        assert text.endswith("比较：水温各传感器最新读数平均 23.100℃，昨天平均 22.250℃，高 0.850℃。"), question
    text = (await lab.ask("今天的浊度比昨天高吗")).text
    assert "比较" not in text


async def test_sensors_that_are_named_have_a_mean_each(lab: Lab) -> None:
    await three(lab)
    await lab.put("temp,pond-2,2026-11-27T16:00:00Z,21.0,℃", "temp,pond-3,2026-11-27T16:00:00Z,30.0,℃")
    found = await lab.ask("昨天 pond-1 的水温高还是 pond-2 高")
    assert found.text.endswith("平均 21.833℃（pond-1 22.250℃，pond-2 21.000℃）。")
    assert "pond-1 22.250 ℃" in (await lab.ask("compare water temperature in pond-1 and pond-2 yesterday")).text
    assert "（pond" not in (await lab.ask("昨天水温的平均值")).text


@pytest.mark.parametrize("question", ["列出所有水温数据", "水温的全部历史记录", "show all water temperature readings"])
async def test_all_readings_are_all_that_are_held(lab: Lab, question: str) -> None:
    await lab.put(*(f"temp,s,2026-10-{day:02},{day}.0,℃" for day in range(1, 31)))
    found = await lab.ask(question)
    assert [one.value for one in found.data[0].readings] == [f"{day}.0" for day in range(30, 0, -1)]
    assert "30 " in found.text


async def test_a_trend_is_of_each_sensor(lab: Lab) -> None:
    await lab.put(*(f"do,a,2026-11-27T{hour:02}:00:00Z,{hour}.5,mg/L" for hour in range(10)), "do,b,2026-11-27,7,mg/L")
    text = (await lab.ask("how did the dissolved oxygen change yesterday?")).text
    assert text.endswith(
        ": a rising: from 0.5 mg/L (2026-11-27 00:00) to 9.5 mg/L (2026-11-27 09:00), a change of +9.0 mg/L."
    )


async def test_no_readings_are_said_plainly(lab: Lab) -> None:
    found = await lab.ask("昨天水温多少")
    assert (found.text, found.data) == (
        "昨天没有水温读数。可用 parley readings import 导入。", (MetricData(metric="temp", readings=()),)
    )  # fmt: skip
    await three(lab)
    assert (await lab.ask("water temperature last week")).text == (
        "There are no water temperature readings (last week). The newest water temperature reading is from "
        "2026-11-28 18:00 UTC."
    )
    assert (
        await lab.ask("水温多少", sensor="pond-9")
    ).text == "传感器“pond-9”没有水温读数。有水温读数的传感器：pond-1、pond-2。"


async def test_many_readings_are_counted_by_the_store_and_cut_in_what_is_told(lab: Lab) -> None:
    start = datetime(2026, 11, 27, tzinfo=UTC)
    await lab.put(*(f"temp,{'ab'[n % 2]},{(start + timedelta(minutes=n)).isoformat()},{n}.0,℃" for n in range(1001)))
    found = await lab.ask("昨天水温最高、最低和平均值，趋势如何")
    (data,) = found.data
    assert (len(data.readings), data.truncated, data.readings[0].value) == (200, True, "1000.0")
    assert "1001 条读数" in found.text
    assert "最高 1000.0℃（a，2026-11-27 16:40）；最低 0.0℃（a，2026-11-27 00:00）；平均 500.00℃" in found.text
    assert "a 呈上升趋势：从 0.0℃（2026-11-27 00:00）到 1000.0℃（2026-11-27 16:40），变化 +1000.0℃" in found.text
    one = await lab.ask("b 昨天水温平均", sensor="b")
    assert "（500 条读数" in one.text
    assert "平均 500.00℃" in one.text


async def test_another_unit_is_left_out_and_said(lab: Lab) -> None:
    await lab.put("temp,a,2026-11-27,20,℃", "temp,a,2026-11-27T01:00Z,22,℃", "temp,b,2026-11-27,70,℉")
    text = (await lab.ask("昨天水温最高多少")).text
    assert "最高 22℃" in text
    assert text.endswith("另有 1 条读数单位不同，未计入。")


async def test_a_follow_up_takes_the_rest_from_the_question_before(lab: Lab) -> None:
    await three(lab)
    await lab.put("ph,pond-1,2026-11-27,7.10,")
    assert "最高 24.0℃" in (await lab.ask("那昨天呢？", "今天水温最高是多少")).text
    assert "最高 7.10（" in (await lab.ask("pH呢？", "昨天水温最高是多少")).text
    assert await lab.desk.answer("t", "那昨天呢？", None, [Exchange("1", "栅栏是什么", "")]) is None


async def test_days_are_placed_by_the_time_zone(lab: Lab) -> None:
    # 18:30 UTC is 02:30 of the 29th in Shanghai, whose yesterday began at 16:00 UTC of the 27th.
    await three(lab)
    found = await Lab(lab.store, timezone="Asia/Shanghai").ask("昨天水温最高是多少")
    assert found.text == ("昨天水温（1 条读数，2026-11-28 00:00 UTC+08:00）：最高 24.0℃（pond-1，2026-11-28 00:00）。")
    with pytest.raises(ConfigError, match="PARLEY_TIMEZONE"):
        read(DataSettings, {"PARLEY_TIMEZONE": "Mars/Base"})


async def test_what_asks_for_no_data_is_left_to_the_knowledge_base(lab: Lab) -> None:
    await three(lab)
    for question in ("水温是什么意思", "What is water temperature?", "What happens to a turn?", "好的"):
        assert await lab.desk.answer("t", question, {"place": "Bern", "time_range": "whenever"}, []) is None
    with pytest.raises(Invalid, match="time_range"):
        await lab.desk.answer("t", "水温多少", {"time_range": "whenever"}, [])
    assert await lab.desk.answer("other", "查询最近的数据", None, []) is None


async def test_a_metric_of_the_installations_own_is_answered_by_its_name(lab: Lab) -> None:
    await lab.put("vibration,pump-7,2026-11-28T18:00Z,0.70,mm/s")
    assert "0.70 mm/s" in (await lab.ask("latest vibration")).text
    assert "0.70 mm/s" in (await lab.ask("vibration of pump 7 today")).text
    assert await lab.desk.answer("t", "why is there vibration?", None, []) is None


async def test_bad_rows_refuse_all_only_where_that_is_asked(lab: Lab) -> None:
    rows = ("temp,a,2026-11-27,1,", "temp,a,never,1,")
    reply = await lab.put(*rows, all_or_nothing=True)
    assert (reply.stored, reply.refused_count, reply.refused[0].line) == (0, 1, 3)
    assert await lab.store.readings.series("t", limit=10) == []
    reply = await lab.put(*rows)
    assert (reply.stored, reply.refused_count) == (1, 1)


async def test_series_are_bounded_and_can_be_dropped(lab: Lab) -> None:
    small = Lab(lab.store, series=2)
    reply = await small.put(*(f"temp,s{n},2026-11-27,1," for n in range(4)))
    assert (reply.stored, reply.refused_count) == (2, 2)
    assert "PARLEY_MAX_SERIES" in reply.refused[0].reason
    assert (await small.put("temp,s0,2026-11-28,2,")).stored == 1
    dropped = await small.desk.drop(DropReadings(call="c", reply_to="g", tenant="t", metric="水温", sensor="s0"))
    assert dropped.removed == 2
    assert (await small.put("temp,s9,2026-11-28,2,")).stored == 1


class FakeRun:
    """Records what a handler says."""

    def __init__(self, question: str) -> None:
        self.job = Retrieve(key=TurnKey("t", "s", "1"), submission="x", budget_s=9, digest="d", question=question)
        self.key = self.job.key
        self.fence = 1
        self.prefix = self.text = ""
        self.statuses: list[str] = []
        self.marks: list[tuple[object, ...]] = []

    def remaining_s(self) -> float:
        return 8.0

    def status(self, stage: str) -> None:
        self.statuses.append(stage)

    def retrieval(self, intent: str, route: str, sources: list[Source], data: tuple[MetricData, ...] = ()) -> None:
        self.marks.append((intent, route, tuple(sources), tuple(data)))


async def test_the_handler_hands_on_the_answer_and_marks_what_it_was_made_from(lab: Lab) -> None:
    await three(lab)
    run = FakeRun("现在水温多少")
    job = await RetrieveHandler(lab.store, EmbeddedRetriever(), data=lab.desk)(run)
    want = await lab.ask("现在水温多少")
    assert job.prepared == want.text
    assert run.marks == [("query_data", "query_data", (), want.data)]
    assert want.text in job.prompt[0].content
    assert [message.role for message in job.prompt] == ["system", "user"]
