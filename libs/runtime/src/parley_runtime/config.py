"""Settings: one frozen dataclass per service, read once from the environment.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class GatewaySettings:
        port: int = setting("PARLEY_PORT", 8000, "TCP port of sockets and HTTP", unit="port", zero="any free port")

``read`` lists every bad key at once. ``docs/settings.md`` and ``.env.example`` are generated from the same fields.
"""

import dataclasses
import enum
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from dotenv import dotenv_values

from parley_runtime.errors import ConfigError

T = TypeVar("T")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """Documentation and bounds of one key. ``zero`` says what 0 means where that is special; ``aliases`` are older
    names of the key, read where it is absent.
    """

    env: str
    help: str
    unit: str = ""
    zero: str = ""
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False
    aliases: tuple[str, ...] = ()


def setting(
    env: str,
    default: Any,
    help: str,
    *,
    unit: str = "",
    zero: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    """A field read from ``env``. ``default`` is used when the key is absent or empty; ``...`` makes it required."""
    meta = {"setting": Setting(env, help, unit, zero, minimum, maximum, secret, aliases)}
    if default is ...:
        return dataclasses.field(metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def environment(folder: Path | None = None) -> dict[str, str]:
    """What settings are read from: ``.env`` of ``folder`` (the working folder), over which the environment wins.

    Raises:
        ConfigError: the file exists and cannot be read as text.
    """
    path = (folder or Path.cwd()) / ".env"
    try:
        file = dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): mend or remove it") from error
    return {**{key: text for key, text in file.items() if text is not None}, **os.environ}


def describe(kind: type[Any]) -> list[tuple[Setting, str, Any]]:
    """(setting, type name, default) of each field, in order, nested groups included; ``...`` for required ones."""
    rows: list[tuple[Setting, str, Any]] = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            rows.extend(describe(hint))
            continue
        meta = field.metadata.get("setting")
        if meta is None:
            raise TypeError(f"{kind.__name__}.{field.name} has no setting()")
        default = ... if field.default is dataclasses.MISSING else field.default
        rows.append((meta, _type_name(hint), default))
    return rows


def read(kind: type[T], environ: Mapping[str, str]) -> T:
    """Read ``kind`` (its fields may be settings or nested groups of settings) from ``environ``.

    Raises:
        ConfigError: one line for each bad or missing key. Values of secrets are never shown.
    """
    problems: list[str] = []
    result = _read(kind, environ, problems)
    if problems:
        raise ConfigError("settings that cannot be used:\n  " + "\n  ".join(problems))
    return typing.cast(T, result)


def _read(kind: type[Any], environ: Mapping[str, str], problems: list[str]) -> Any:
    values: dict[str, Any] = {}
    bad = len(problems)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            values[field.name] = _read(hint, environ, problems)
            continue
        meta: Setting = field.metadata["setting"]
        raw = next(filter(None, (environ.get(name, "").strip() for name in (meta.env, *meta.aliases))), "")
        if not raw:
            if field.default is dataclasses.MISSING:
                problems.append(f"{meta.env} is required: {meta.help}")
            continue
        try:
            values[field.name] = _checked(_parse(raw, hint), meta)
        except ValueError as error:
            shown = "***" if meta.secret else repr(raw)
            problems.append(f"{meta.env}={shown}: {error} ({meta.help})")
    if len(problems) > bad:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        problems.append(str(error))
        return None


def _parse(raw: str, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        return _parse(raw, inner[0])
    if origin is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_parse(part.strip(), item) for part in raw.split(",") if part.strip())
    if hint is bool:
        return _parse_bool(raw)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _parse_enum(raw, hint)
    if hint in (int, float, str):
        try:
            return hint(raw)
        except ValueError:
            raise ValueError(f"expected {_type_name(hint)}") from None
    raise TypeError(f"settings of type {hint} are not supported")


def _parse_bool(raw: str) -> bool:
    lowered = raw.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError("expected 1 or 0")


def _parse_enum(raw: str, hint: type[enum.Enum]) -> enum.Enum:
    for member in hint:
        if raw.lower() == str(member.value).lower():
            return member
    raise ValueError("expected one of " + ", ".join(str(member.value) for member in hint))


def _checked(value: Any, meta: Setting) -> Any:
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if math.isnan(number) or (meta.minimum is not None and number < meta.minimum):
            raise ValueError(f"must be at least {meta.minimum}")
        if meta.maximum is not None and number > meta.maximum:
            raise ValueError(f"must be at most {meta.maximum}")
    return value


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join("nothing" if part is type(None) else _type_name(part) for part in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " | ".join(str(member.value) for member in hint)
    return {int: "integer", float: "number", str: "text", bool: "1 or 0"}.get(hint, str(hint))
