"""Reads `.env`: KEY=VALUE lines, with comments and quotes, and nothing clever."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from parley_client.up.errors import ConfigurationError

LARGEST_FILE = 1 << 20
"""Bytes; a longer `.env` is refused, since it cannot be one."""

_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class DotEnv:
    """What a `.env` file says. `problems` name line numbers and never repeat a value."""

    values: Mapping[str, str]
    problems: tuple[str, ...] = ()


def parse(text: str) -> DotEnv:
    """Parses the text of a `.env` file; a bad line is skipped and reported, a repeated key takes its last value.

    `'single quotes'` are literal, `"double quotes"` know `\\n`, `\\t`, `\\r`, `\\"` and `\\\\`, and an unquoted
    value ends at ` #`. A value never spans lines and no variable is expanded.
    """
    values: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(stripped)
        if match is None:
            problems.append(f"line {number} is not KEY=VALUE")
            continue
        value = _value(match[2])
        if value is None:
            problems.append(f"line {number}: the quotes around {match[1]} are not closed, or text follows them")
        else:
            values[match[1]] = value
    return DotEnv(values, tuple(problems))


def _value(raw: str) -> str | None:
    if raw.startswith('"'):
        match = _DOUBLE.fullmatch(raw)
        return match and re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), match[1])
    if raw.startswith("'"):
        match = _SINGLE.fullmatch(raw)
        return match and match[1]
    return re.split(r"\s#", f" {raw}", maxsplit=1)[0].strip()


def load(path: Path) -> DotEnv:
    """Reads `path`; an absent file is an empty one.

    Raises ConfigurationError where the file exists and cannot be read as UTF-8 text.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigurationError(f"{path} is larger than {LARGEST_FILE} bytes: it is not a list of settings.")
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return DotEnv({})
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): mend or remove it.") from error


def merged(file: DotEnv, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment the services get: `file` first, the real environment wins."""
    return {**file.values, **(os.environ if environ is None else environ)}
