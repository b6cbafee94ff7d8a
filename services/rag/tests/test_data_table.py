"""Readings brought in as CSV and JSON: digits as given, bad rows by line, nothing guessed."""

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from parley_protocol.readings import RefusedReading
from parley_rag.data.lexicon import Lexicon
from parley_rag.data.table import Reader, Table
from parley_runtime.errors import Invalid
from parley_runtime.store.reading_ports import stamp

pytestmark = pytest.mark.unit
HEAD = "metric,sensor,timestamp,value,unit\n"


def read(data: str | bytes, media_type: str = "", **fields: object) -> Table:
    raw = data.encode() if isinstance(data, str) else data
    return Reader(lexicon=Lexicon(), **fields).read(raw, media_type)


def one(row: str, **fields: object) -> tuple[str, str, str, str, str]:
    (reading,) = read(HEAD + row, **fields).readings
    return reading.metric, reading.sensor, stamp(reading.at), reading.value, reading.unit


def reason(row: str) -> str:
    table = read(HEAD + row)
    assert (table.readings, table.count) == ([], 1)
    return table.refused[0].reason


def test_a_row_becomes_a_reading() -> None:
    assert one("temp,pond-1,2026-01-02T03:04:05Z,23.50,℃") == (
        "temp", "pond-1", "2026-01-02T03:04:05+00:00", "23.50", "℃"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("23.50", "23.50"), ("-0.10", "-0.10"), ("+5", "5"), ("007.0", "7.0"), (".5", "0.5"), ("5.", "5"),
        ("1e-3", "1e-3"),
        ("1.20E+2", "1.20E+2"), ("0", "0"), ("12345678901234567890.123", "12345678901234567890.123"),
    ],
)  # fmt: skip
def test_digits_are_kept_as_they_were_given(given: str, kept: str) -> None:
    assert one(f"temp,s,2026-01-02,{given},")[3] == kept


@pytest.mark.parametrize(
    "given", ["", "abc", "NaN", "inf", "1e999", "1,5", "12 3", "0x10", "２３", "1_000", "--1", "9" * 41]
)
def test_what_is_no_number_is_refused(given: str) -> None:
    assert "value" in reason(f'temp,s,2026-01-02,"{given}",')


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-02T03:04:05+08:00", "2026-01-01T19:04:05+00:00"),
        ("2026-01-02 03:04", "2026-01-02T03:04:00+00:00"),
        ("2026/1/2 3:04:05.25", "2026-01-02T03:04:05.250000+00:00"),
        ("2026年1月2日 3:04", "2026-01-02T03:04:00+00:00"),
        ("2026-01-02", "2026-01-02T00:00:00+00:00"),
        ("1767323045", "2026-01-02T03:04:05+00:00"),
        ("1767323045000", "2026-01-02T03:04:05+00:00"),
    ],
)
def test_times(given: str, kept: str) -> None:
    assert one(f"temp,s,{given},1,")[2] == kept


@pytest.mark.parametrize(
    "given",
    ["", "yesterday", "2026-13-01", "2026-02-30", "2026-01-02T25:00", "02.01.2026", "0001-01-01", "9999-12-31", "12"],
)
def test_what_is_no_time_is_refused(given: str) -> None:
    assert "timestamp" in reason(f"temp,s,{given},1,")


def test_a_time_without_a_zone_is_of_the_installations() -> None:
    row = "temp,s,2026-01-02 08:00,1,"
    assert one(row, zone=ZoneInfo("Asia/Shanghai"))[2] == "2026-01-02T00:00:00+00:00"
    assert one(row, zone=UTC)[2] == "2026-01-02T08:00:00+00:00"


def test_bad_rows_are_told_by_line_and_the_others_are_read() -> None:
    rows = 'temp,s,2026-01-02,1,\ntemp,,2026-01-02,1,\n\ntemp,"a\nb",2026-01-02,1,\ntemp,s,2026-01-03,x,\ntemp,s\n'
    table = read(HEAD + rows)
    assert [reading.value for reading in table.readings] == ["1"]
    assert [(row.line, row.reason.split()[0]) for row in table.refused] == [
        (3, "sensor"), (5, "sensor"), (7, "value"), (8, "value")
    ]  # fmt: skip


def test_columns_are_found_by_name_in_any_order_and_language() -> None:
    (reading,) = read("数值;时间;传感器;指标;备注\n7.1;2026-01-02;一号池;酸碱度;x\n").readings
    assert (reading.metric, reading.sensor, reading.value, reading.unit) == ("ph", "一号池", "7.1", "")
    (reading,) = read("Metric\tSensor\tTime\tValue\nWater_Temperature\ts\t2026-01-02\t5\n").readings
    assert reading.metric == "temp"


@pytest.mark.parametrize(
    "data", ["temp,s,2026-01-02,1,\n", "metric,sensor,value\n", "metric,metric,sensor,timestamp,value\n"]
)
def test_a_header_that_names_too_little_is_refused_whole(data: str) -> None:
    with pytest.raises(Invalid, match="first line"):
        read(data)


def test_json_keeps_digits_and_tells_places() -> None:
    body = (
        '[{"metric":"temp","sensor":"s","timestamp":"2026-01-02T00:00:00Z","value":23.50,"unit":"℃"},'
        '{"metric":"temp","sensor":7,"timestamp":1767323045,"value":"0.10"}, 5, {"metric":"temp"},'
        '{"metric":["temp"],"sensor":"s","timestamp":"2026-01-02","value":1}]'
    )
    table = read(body)
    assert [(reading.sensor, reading.value) for reading in table.readings] == [("s", "23.50"), ("7", "0.10")]
    assert [row.line for row in table.refused] == [3, 4, 5]
    (reading,) = read(
        '{"metric":"do","sensor":"s","timestamp":"2026-01-02","value":-1e2,"more":{}}', "application/json"
    ).readings
    assert (reading.metric, reading.value, reading.number) == ("do", "-1e2", -100.0)


@pytest.mark.parametrize("data", [b"{", b"[1,", b"[" * 5000, b'{"a":"\xff"}'])
def test_what_is_no_json_is_refused_whole(data: bytes) -> None:
    with pytest.raises(Invalid):
        read(data, "application/json")


def test_encodings() -> None:
    row = HEAD + "水温,一号池,2026-01-02,23.5,℃\n"
    for raw in (row.encode("utf-8-sig"), row.encode("utf-16"), row.encode("gb18030")):
        (reading,) = read(raw, "text/csv").readings
        assert (reading.metric, reading.sensor, reading.unit) == ("temp", "一号池", "℃")
    table = read(row.encode() + b"temp,caf\xe9,2026-01-02,1,\ntemp,s,2026-01-03,2,\n")
    assert [reading.value for reading in table.readings] == ["23.5", "2"]
    assert table.refused == [RefusedReading(3, "is not UTF-8")]
    for raw in (b"\x00\x01\x02\x03", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        with pytest.raises(Invalid):
            read(raw)


def test_sizes_are_bounded() -> None:
    rows = HEAD + "temp,s,2026-01-02,1,\n" * 11
    with pytest.raises(Invalid, match="PARLEY_READINGS_ROWS"):
        read(rows, rows=10)
    table = read(HEAD + "temp,,2026-01-02,1,\n" * 5, refusals=2)
    assert (len(table.refused), table.count) == (2, 5)
    assert "sensor" in reason(f"temp,{'x' * 65},2026-01-02,1,")
    assert "unit" in reason(f"temp,s,2026-01-02,1,{'x' * 33}")
    assert "no CSV" in reason(f'temp,"{"x" * 200_000}",2026-01-02,1,')
