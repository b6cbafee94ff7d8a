"""Questions about measured data: what they ask, and which ask something else."""

import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from parley_rag.data import moments
from parley_rag.data.lexicon import Lexicon, load
from parley_rag.data.signs import Aggregate
from parley_rag.data.understanding import DataQuestion, Given, given, understand
from parley_runtime.errors import ConfigError, Invalid

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 28, 18, 30, tzinfo=UTC)
HELD = [("temp", "pond-1"), ("temp", "pond-2"), ("temp", "东湖-1"), ("do", "greenhouse-2"), ("vibration", "pump-7")]
LEXICON = Lexicon()


def asked(question: str, **beside: object) -> DataQuestion | None:
    return understand(question, LEXICON, NOW, HELD, Given(**beside))


def span(text: str, now: datetime = NOW) -> tuple[str, str] | None:
    found = moments.find(text, now)
    return found and found.span and tuple(end.isoformat(timespec="minutes") for end in found.span)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("question", "sensors"),
    [
        ("pond-1 的水温", ("pond-1",)),
        ("what is the water temperature in pond 2?", ("pond-2",)),
        ("东湖现在水温多少", ("东湖-1",)),
        ("current dissolved oxygen in the greenhouse", ("greenhouse-2",)),
        ("现在水温多少", ()),
    ],
)
def test_sensors_and_places(question: str, sensors: tuple[str, ...]) -> None:
    found = asked(question)
    assert found is not None
    assert (found.sensors, found.unknown) == (sensors, "")


def test_a_sensor_that_is_not_there_is_said() -> None:
    found = asked("传感器 X9 现在的水温")
    assert found is not None
    assert (found.sensors, found.unknown, found.must) == ((), "X9", True)
    found = asked("water temperature at lake 9 now")
    assert found is not None
    assert (found.unknown, found.must) == ("lake 9", False)


def test_a_metric_of_the_installations_own_is_known_by_its_name() -> None:
    found = asked("latest vibration of pump-7")
    assert found is not None
    assert (found.metrics, found.sensors) == (("vibration",), ("pump-7",))
    assert understand("latest vibration of pump-7", LEXICON, NOW, []) is None


def test_what_a_client_says_beside_its_question() -> None:
    found = asked("水温", sensor="pond-1", span=(NOW, NOW), when="x")
    assert found is not None
    assert (found.sensors, found.span) == (("pond-1",), (NOW, NOW))
    found = asked("昨天水温", sensor="nobody", span=(NOW, NOW), when="x")
    assert found is not None
    assert (found.unknown, found.must, found.when) == ("nobody", True, "昨天")


def test_context_is_read_and_wrong_times_are_said() -> None:
    read = given({"sensor": " s ", "place": 7, "time_range": {"start": "2026-11-01", "end": "2026-11-02"}, "x": 1}, NOW)
    assert (read.sensor, read.place) == ("s", "")
    assert read.span == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC))
    assert given({"time_range": "昨天"}, NOW).when == "昨天"
    assert given({"time_range": ["2026-11-01", "2026-11-02"]}, NOW).span == read.span
    assert given({"time_range": "latest"}, NOW).recent
    assert given({"time_range": {"from": "2026-11-01"}}, NOW).span == (datetime(2026, 11, 1, tzinfo=UTC), NOW)
    assert not given(None, NOW).any
    for wrong in ("whenever", {"start": 5}, 7, ["a", "b"]):
        with pytest.raises(Invalid, match="time_range"):
            given({"time_range": wrong}, NOW)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("昨天", ("2026-11-27T00:00+08:00", "2026-11-28T00:00+08:00")),
        ("11月27日8点到12点", ("2026-11-27T08:00+08:00", "2026-11-27T12:00+08:00")),
        ("2026-11-01T00:00:00Z/2026-11-02T00:00:00Z", ("2026-11-01T00:00+00:00", "2026-11-02T00:00+00:00")),
    ],
)
def test_days_are_those_of_the_time_zone(text: str, want: tuple[str, str]) -> None:
    shanghai = datetime(2026, 11, 28, 1, 30, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert span(text, shanghai) == want


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("昨天8点的", "27T08:00", "27T09:00"),
        ("前天下午三点", "26T15:00", "26T16:00"),
        ("昨天的下午2点到4点", "27T14:00", "27T16:00"),
        ("今早8点半", "28T08:00", "28T09:00"),
        ("昨晚十点", "27T22:00", "27T23:00"),
        ("昨晚2点", "28T02:00", "28T03:00"),
        ("昨天晚上12点", "28T00:00", "28T01:00"),
        ("昨天凌晨12点", "27T00:00", "27T01:00"),
        ("昨天中午12点", "27T12:00", "27T13:00"),
        ("昨天中午1点", "27T13:00", "27T14:00"),
        ("昨天25点", "27T00:00", "28T00:00"),
        ("at 3pm yesterday", "27T15:00", "27T16:00"),
        ("yesterday at 9:30", "27T09:00", "27T10:00"),
        ("today at 12am", "28T00:00", "28T01:00"),
        ("yesterday at 12 p.m.", "27T12:00", "27T13:00"),
        ("yesterday at noon", "27T12:00", "27T13:00"),
        ("昨儿个", "27T00:00", "28T00:00"),
        ("overnight", "27T18:00", "28T06:00"),
        ("凌晨", "28T00:00", "28T06:00"),
        ("凌晨3点", "28T03:00", "28T04:00"),
        ("晚上10点", "27T22:00", "27T23:00"),
        ("过去三天早上", "25T18:30", "28T18:30"),
    ],
)
def test_hours_and_parts_of_a_day(text: str, first: str, last: str) -> None:
    assert span(text) == (f"2026-11-{first}+00:00", f"2026-11-{last}+00:00")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("11月的", ("2026-11-01", "2026-12-01")),
        ("十月", ("2026-10-01", "2026-11-01")),
        ("12月", ("2025-12-01", "2026-01-01")),
        ("for October", ("2026-10-01", "2026-11-01")),
        ("for November 12", ("2026-11-12", "2026-11-13")),
        ("11月12号", ("2026-11-12", "2026-11-13")),
        ("of the week", ("2026-11-23", "2026-11-30")),
        ("周末", ("2026-11-28", "2026-11-30")),
        ("over the weekend", ("2026-11-28", "2026-11-30")),
    ],
)
def test_months_and_weekends(text: str, want: tuple[str, str]) -> None:
    found = span(text)
    assert found is not None
    assert tuple(end.removesuffix("T00:00+00:00") for end in found) == want


@pytest.mark.parametrize("text", ["11月初", "3月球", "明天下午", "每天早上", "前儿子", "may I see it"])
def test_what_names_no_time(text: str) -> None:
    assert moments.find(text, NOW) is None


def test_a_weekend_that_has_not_begun_is_the_one_before() -> None:
    tuesday = datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert span("over the weekend", tuesday) == ("2026-11-21T00:00+00:00", "2026-11-23T00:00+00:00")


def test_a_day_with_a_change_of_the_clock_is_as_long_as_it_is() -> None:
    berlin = datetime(2026, 10, 26, 12, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    found = moments.find("yesterday", berlin)
    assert found is not None
    assert found.span is not None
    first, last = (end.astimezone(UTC) for end in found.span)
    assert (last - first).total_seconds() == 25 * 3600


def test_ends_in_the_wrong_order_and_days_that_do_not_exist() -> None:
    assert span("between 2026-11-05 and 2026-11-01") == ("2026-11-01T00:00+00:00", "2026-11-06T00:00+00:00")
    assert span("2026-02-30") is None
    assert span("从13月45日到99月1日") is None


def test_more_metrics_and_names_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.toml"
    file.write_text(
        '[metrics.noise]\nzh = "噪声"\nen = "noise level"\nwords = ["噪音", "loudness"]\n'
        '[metrics.temp]\nwords = ["塘温"]\n'
    )
    lexicon = load(str(file))
    for question, metric in (
        ("昨天噪音最大多少", "noise"),
        ("loudness now", "noise"),
        ("现在塘温多少", "temp"),
        ("现在水温多少", "temp"),
    ):
        found = understand(question, lexicon, NOW, HELD)
        assert found is not None
        assert found.metrics == (metric,)
    assert (lexicon.called("noise", chinese=True), lexicon.called("temp", chinese=False)) == (
        "噪声",
        "water temperature",
    )
    assert lexicon.name_of("loudness") == "noise"
    as_json = tmp_path / "metrics.json"
    as_json.write_text('{"metrics": {"noise": {"words": ["loudness"]}}}')
    assert load(str(as_json)).name_of("Loudness") == "noise"


@pytest.mark.parametrize("text", ["", "[metrics", "[metrics.x]\nsynonyms = []", "[metrics.x]\nwords = ['']", "[other]"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"PARLEY_METRICS.*m\.toml"):
        load(str(file))
    with pytest.raises(ConfigError, match="PARLEY_METRICS"):
        load(str(tmp_path / "nowhere.toml"))


def test_several_aggregates_and_the_language() -> None:
    found = asked("昨天水温的最高值和最低值")
    assert found is not None
    assert (found.aggregates, found.chinese) == ((Aggregate.MAX, Aggregate.MIN), True)
    found = asked("mean water temperature yesterday")
    assert found is not None
    assert (found.aggregates, found.chinese) == ((Aggregate.MEAN,), False)


@pytest.mark.parametrize(
    "text", ["从" * 300, "1 " * 150, "what " * 60, "最近" * 150, "a-" * 150, "2026-11-" * 37, "how many " * 33]
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    asked(text[:300])
    asked(f"水温 {text}"[:300])
    assert time.process_time() - begun < 0.2


def test_a_long_text_is_no_question_for_a_value() -> None:
    assert asked("现在水温多少" + "，" * 300) is None
