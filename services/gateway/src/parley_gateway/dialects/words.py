"""What is wrong with a frame, in Chinese: the decoder says it in English. Pure."""

import re

_KINDS = {
    "str": "字符串",
    "int": "整数",
    "float": "数字",
    "bool": "布尔值",
    "object": "对象",
    "array": "数组",
    "null": "null",
}
_WHERE = r"(?: - at `\$\.?(?P<where>[^`]*)`)?$"
_MISSING = re.compile(rf"Object missing required field `(?P<field>[^`]+)`{_WHERE}")
_EXPECTED = re.compile(rf"Expected `(?P<wanted>[^`]+)`(?:, got `(?P<got>[^`]+)`)?{_WHERE}")
_UNKNOWN = re.compile(rf"Invalid value (?P<value>'.{{0,80}}?'){_WHERE}", re.DOTALL)
_BROKEN = re.compile(
    r"(?:not valid JSON: )?(?:JSON is malformed|Input data was truncated|'utf-8' codec|Invalid UTF-8|.*recursion)"
)


def in_chinese(detail: str) -> str:
    """``detail`` in Chinese where it is one of the decoder's sentences, else as it is."""
    if match := _MISSING.match(detail):
        return f"缺少字段 {_path(match['where'], match['field'])}"
    if match := _EXPECTED.match(detail):
        what = f"字段 {match['where']} " if match["where"] else "消息"
        got = f"，收到的是{_kinds(match['got'])}" if match["got"] else ""
        return f"{what}应为{_kinds(match['wanted'])}{got}"
    if match := _UNKNOWN.match(detail):
        return f"字段 {match['where']} 不能是 {match['value']}"
    return "不是有效的 JSON" if _BROKEN.match(detail) else detail


def _path(where: str | None, field: str) -> str:
    return f"{where}.{field}" if where else field


def _kinds(said: str) -> str:
    return "或".join(_KINDS.get(one, one) for one in said.split(" | "))
