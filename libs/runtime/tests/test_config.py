"""Settings are read whole, from named keys, with every problem said at once."""

import enum
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from parley_runtime import config
from parley_runtime.config import describe, read, setting
from parley_runtime.errors import ConfigError

pytestmark = pytest.mark.unit


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    wait_s: float = setting("T_WAIT", 2.5, "a wait", unit="seconds", minimum=0, maximum=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str = setting("T_NAME", ..., "a name")
    port: int = setting("T_PORT", 8000, "a port", minimum=0, maximum=65535)
    on: bool = setting("T_ON", False, "a switch")
    colour: Colour = setting("T_COLOUR", Colour.RED, "a colour")
    items: tuple[str, ...] = setting("T_ITEMS", (), "a list")
    ports: tuple[int, ...] = setting("T_PORTS", (), "numbers", minimum=1)
    maybe: int | None = setting("T_MAYBE", None, "a number or nothing")
    secret: str = setting("T_SECRET", "", "a secret", secret=True)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.name == "bad together":
            raise ValueError("T_NAME and T_PORT do not go together")


def test_defaults_and_values() -> None:
    values = read(Outer, {"T_NAME": " a ", "T_ON": "yes", "T_COLOUR": "GREEN", "T_ITEMS": "x, y,,z", "T_WAIT": "0.5"})
    assert values == Outer(name="a", on=True, colour=Colour.GREEN, items=("x", "y", "z"), inner=Inner(wait_s=0.5))
    assert read(Outer, {"T_NAME": "a", "T_MAYBE": "7", "T_PORTS": "1,2"}).maybe == 7


def test_an_empty_value_is_an_absent_one() -> None:
    assert read(Outer, {"T_NAME": "a", "T_PORT": "  "}).port == 8000


def test_every_problem_is_said_at_once_and_no_secret_is_shown() -> None:
    environ = {"T_PORT": "70000", "T_ON": "perhaps", "T_COLOUR": "blue", "T_WAIT": "nan", "T_PORTS": "1,0"}
    with pytest.raises(ConfigError) as caught:
        read(Outer, environ)
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip().split("=")[0].split(" ")[0] for line in lines] == [
        "T_NAME",
        "T_PORT",
        "T_ON",
        "T_COLOUR",
        "T_PORTS",
        "T_WAIT",
    ]
    assert "at most 65535" in lines[1]
    assert "red, green" in lines[3]


def test_a_bad_secret_is_blotted_out() -> None:
    @dataclass(frozen=True, slots=True)
    class Keys:
        pin: int = setting("T_PIN", 0, "a pin", secret=True)

    with pytest.raises(ConfigError) as caught:
        read(Keys, {"T_PIN": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "T_PIN=***" in str(caught.value)


def test_a_check_over_several_fields_is_a_problem_like_others() -> None:
    with pytest.raises(ConfigError, match="do not go together"):
        read(Outer, {"T_NAME": "bad together"})


def test_describe_lists_nested_fields_with_their_types() -> None:
    rows = {meta.env: (kind, default) for meta, kind, default in describe(Outer)}
    assert rows["T_NAME"] == ("text", ...)
    assert rows["T_COLOUR"] == ("red | green", Colour.RED)
    assert rows["T_PORTS"] == ("list of integer", ())
    assert rows["T_MAYBE"] == ("integer or nothing", None)
    assert rows["T_WAIT"] == ("number", 2.5)


def test_a_field_without_setting_is_a_programming_error() -> None:
    @dataclass(frozen=True)
    class Wrong:
        plain: int = 1

    with pytest.raises(TypeError, match=r"Wrong\.plain"):
        describe(Wrong)


def test_an_unsupported_type_is_a_programming_error() -> None:
    @dataclass(frozen=True)
    class Wrong:
        odd: dict[str, str] = setting("T_ODD", None, "odd")

    with pytest.raises(TypeError, match="not supported"):
        config.read(Wrong, {"T_ODD": "x"})


def test_an_alias_is_read_where_the_key_is_absent() -> None:
    @dataclass(frozen=True, slots=True)
    class Aliased:
        port: int = setting("T_PORT", 1, "a port", aliases=("T_OLD_PORT",))

    assert read(Aliased, {"T_OLD_PORT": "2"}).port == 2
    assert read(Aliased, {"T_OLD_PORT": "2", "T_PORT": "3"}).port == 3
    assert read(Aliased, {"T_OLD_PORT": "2", "T_PORT": " "}).port == 2


def test_a_dotenv_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("# a comment\nT_ONE=file\nT_TWO='a $PATH # b'\nexport T_THREE=3 # three\n")
    monkeypatch.setenv("T_ONE", "environment")
    found = config.environment(tmp_path)
    assert (found["T_ONE"], found["T_TWO"], found["T_THREE"]) == ("environment", "a $PATH # b", "3")
    assert "T_TWO" not in config.environment(tmp_path / "elsewhere")


def test_a_dotenv_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00A=1")
    with pytest.raises(ConfigError, match=r"\.env cannot be read"):
        config.environment(tmp_path)
