"""What a decoder says of a frame, in Chinese. The sentences are those that msgspec really says."""

import msgspec
import pytest

from parley_gateway.dialects.words import in_chinese

pytestmark = pytest.mark.unit


class Inner(msgspec.Struct):
    name: str


class Frame(msgspec.Struct, tag="a"):
    message: str
    session_id: str | None = None
    inner: Inner | None = None


class Other(msgspec.Struct, tag="b"):
    message: str


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"type": "a"}', "缺少字段 message"),
        ('{"message": "x"}', "缺少字段 type"),
        ('{"type": "a", "message": "x", "inner": {}}', "缺少字段 inner.name"),
        ('{"type": "a", "message": 5}', "字段 message 应为字符串，收到的是整数"),
        ('{"type": "a", "message": "x", "session_id": 5}', "字段 session_id 应为字符串或null，收到的是整数"),
        ('{"type": "a", "message": null}', "字段 message 应为字符串，收到的是null"),
        ('{"type": null}', "字段 type 应为字符串"),
        ("[]", "消息应为对象，收到的是数组"),
        ('{"type": "c"}', "字段 type 不能是 'c'"),
        ("{broken", "不是有效的 JSON"),
        ('{"type": "a"', "不是有效的 JSON"),
        ("", "不是有效的 JSON"),
    ],
)
def test_what_is_wrong_is_said_in_chinese(data: str, said: str) -> None:
    with pytest.raises(msgspec.MsgspecError) as wrong:
        msgspec.json.decode(data, type=Frame | Other)
    assert in_chinese(str(wrong.value)) == said


def test_other_words_stay() -> None:
    for text in ("message is empty", "", "Expected a turn"):
        assert in_chinese(text) == text
