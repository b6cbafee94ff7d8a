"""Bytes to text: UTF-8, UTF-16 with a byte order mark, or Chinese in GB18030. Anything else is refused, not guessed."""

import codecs
import re

from parley_runtime.errors import Invalid

_SIGNATURES = (b"%PDF-", b"PK\x03\x04", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"\x7fELF", b"\x1f\x8b", b"RIFF")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_COMMON_SHARE = 0.9
"""Share of the non-ASCII characters that GB2312 must hold before bytes are taken for Chinese."""
_SAMPLE = 100_000

BINARY = "looks like binary data, not text; if it is a document, give the file its right ending (.pdf, .docx, .html)"


def decode(data: bytes) -> str:
    """The text of ``data``, without byte order mark.

    Raises:
        Invalid: binary data, or an encoding that is none of the above.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not data.startswith(codecs.BOM_UTF32_LE):
        return _strict(data, "utf-16")
    if data.startswith(_SIGNATURES) or b"\0" in data:
        raise Invalid(BINARY)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _chinese(data)
    if len(_CONTROL.findall(text, 0, _SAMPLE)) * 100 > min(len(text), _SAMPLE):
        raise Invalid(BINARY)
    return text


def _strict(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Invalid(
            f"begins like {encoding.upper()} and breaks off at byte {error.start}; save it as UTF-8"
        ) from None


def _chinese(data: bytes) -> str:
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        raise Invalid("is neither UTF-8, UTF-16 with a byte order mark nor GB18030; save it as UTF-8") from None
    foreign = [char for char in text[:_SAMPLE] if ord(char) > 127]
    common = "".join(foreign).encode("gb2312", "ignore").decode("gb2312")
    if len(common) < _COMMON_SHARE * len(foreign):
        raise Invalid("is not UTF-8, and does not read as Chinese in GB18030 either; save it as UTF-8")
    return text
