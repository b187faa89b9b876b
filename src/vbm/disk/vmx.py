"""VMX files: the configuration of a VM as its host keeps it, ``key = "value"`` a line.

In a value ``|22`` stands for a quotation mark, ``|7C`` for the bar, and so for control characters. Keys are
compared without case; the file's own spelling is kept. The last of several equal keys counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vbm.errors import DamagedError, InputError
from vbm.units import MIB

MAX_VMX_BYTES: Final = 1 * MIB
# Possessive, so that a megabyte of blanks is not tried in every split; lines come without blanks around them.
_LINE = re.compile(r'(?P<key>[^\s="]++)\s*+=\s*+(?:"(?P<quoted>[^"]*+)"|(?P<bare>[^"]*+))')
_ESCAPE = re.compile(r"\|([0-9A-Fa-f]{2})")
_SPECIAL = re.compile('["|\x00-\x1f\x7f]')
_KEY = re.compile(r'[^\s="#\x00-\x1f\x7f][^\s="\x00-\x1f\x7f]*')
_ENCODING = re.compile(rb'^[ \t]*+\.encoding[ \t]*+=[ \t]*+"?([\w\-]{1,40})"?', re.IGNORECASE | re.MULTILINE)
_ENCODINGS: Final = frozenset(
    {"utf-8", "us-ascii", "iso-8859-1", "shift_jis", "gbk", "gb18030", "big5", "euc-jp", "euc-kr"}
    | {f"windows-{page}" for page in (932, 936, 949, 950, *range(1250, 1259))}
)


class VmxDamagedError(DamagedError):
    """A VMX file that no host would have written."""

    code = "vmx-damaged"


def parse_vmx(data: bytes) -> dict[str, str]:
    """Keys and values in the file's order. Raises VmxDamagedError, InputError for more than 1 MiB."""
    if len(data) > MAX_VMX_BYTES:
        raise InputError(f"a VMX file of {len(data)} bytes: this is not one")
    settings: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for number, line in enumerate(_decode(data).split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise VmxDamagedError(f"line {number} of a VMX file makes no sense: {text[:80]!r}")
        key = spelling.setdefault(match["key"].lower(), match["key"])
        settings[key] = _unescaped(match["bare"] if match["quoted"] is None else match["quoted"])
    return settings


def render_vmx(settings: Mapping[str, str]) -> bytes:
    """The file, in UTF-8, which it says in its first line. ``parse_vmx`` reads the same back."""
    lines = ['.encoding = "UTF-8"']
    for key, value in settings.items():
        if not _KEY.fullmatch(key):
            raise InputError(f"a VMX file can't have the key {key[:80]!r}")
        if key.lower() != ".encoding":
            lines.append(f'{key} = "{_SPECIAL.sub(_escaped, value)}"')
    try:
        return "\n".join([*lines, ""]).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"a VMX file can't have {error.object[error.start : error.end]!r}") from error


def _decode(data: bytes) -> str:
    named = _ENCODING.search(data)
    encoding = named[1].decode().lower() if named else "utf-8"
    if encoding not in _ENCODINGS:
        raise VmxDamagedError(f"a VMX file in an unknown encoding: {encoding!r}")
    try:
        return data.decode(encoding.replace("windows-9", "cp9"))
    except ValueError as error:
        raise VmxDamagedError(f"a VMX file that is not the {encoding} it says it is") from error


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)


def _escaped(match: re.Match[str]) -> str:
    return f"|{ord(match[0]):02X}"
