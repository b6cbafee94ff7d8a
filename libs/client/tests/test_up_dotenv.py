"""`.env`: what a line may look like, what is refused, and who wins."""

from pathlib import Path

import pytest

from parley_client.up import dotenv
from parley_client.up.errors import ConfigurationError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=value", "value"),
        ("  KEY = value  ", "value"),
        ("export KEY=value", "value"),
        ("KEY=", ""),
        ("KEY=a b # a comment", "a b"),
        ("KEY=a#b", "a#b"),
        ("KEY=# only a comment", ""),
        ("KEY='a # b'", "a # b"),
        ("KEY='a\\nb'  # comment", "a\\nb"),
        ('KEY="a # b"', "a # b"),
        ('KEY="a\\n\\"b\\" \\\\"', 'a\n"b" \\'),
        ("KEY=amqp://me:p=w@host:5672/%2F", "amqp://me:p=w@host:5672/%2F"),
        ("KEY=知识", "知识"),
    ],
)
def test_a_good_line(line: str, value: str) -> None:
    assert dotenv.parse(line) == dotenv.DotEnv({"KEY": value})


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("just words", "line 3 is not KEY=VALUE"),
        ("1KEY=x", "line 3 is not KEY=VALUE"),
        ("=x", "line 3 is not KEY=VALUE"),
        ("KEY='open", "line 3: the quotes around KEY"),
        ('KEY="open\\"', "line 3: the quotes around KEY"),
        ('KEY="closed" then more', "line 3: the quotes around KEY"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_is_read(line: str, problem: str) -> None:
    found = dotenv.parse(f"# settings\n\n{line}\nLAST=1\n")
    assert found.values == {"LAST": "1"}
    assert len(found.problems) == 1
    assert found.problems[0].startswith(problem)


def test_a_problem_never_repeats_the_value() -> None:
    assert "s3cret" not in "".join(dotenv.parse("PARLEY_AUTH_SECRET='s3cret").problems)


def test_a_byte_order_mark_windows_line_ends_and_a_repeated_key() -> None:
    assert dotenv.parse("\ufeffA=1\r\nB=2\r\nA=3\r\n").values == {"A": "3", "B": "2"}


def test_the_environment_wins(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=file\nB=file\n", encoding="utf-8")
    assert dotenv.merged(dotenv.load(path), {"A": "real"}) == {"A": "real", "B": "file"}


def test_an_absent_file_is_an_empty_one(tmp_path: Path) -> None:
    assert dotenv.load(tmp_path / ".env") == dotenv.DotEnv({})


@pytest.mark.parametrize("content", [b"A=\xff\xfe", b"A=" + b"x" * dotenv.LARGEST_FILE])
def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".env"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"\.env"):
        dotenv.load(path)
