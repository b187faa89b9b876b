"""Names that people give to vCenters and repositories: what is allowed, and the nearest to a wrong one."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

from vbm.catalog.errors import UnknownNameError
from vbm.errors import InputError

_LONGEST = 200


def checked_name(name: str) -> str:
    """The name in its composed Unicode form. InputError where it is empty, too long or not printable."""
    name = unicodedata.normalize("NFC", name).strip()
    if not name or len(name) > _LONGEST:
        raise InputError(f"a name has 1 to {_LONGEST} characters, this one has {len(name)}")
    if not name.isprintable():
        raise InputError(f"a name has printable characters only: {name!r}")
    return name


def name_key(name: str) -> str:
    """Equal for names that differ only in case or in how accents are composed."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def unknown_name(kind: str, name: str, known: Iterable[str], add_hint: str) -> UnknownNameError:
    """The error for a name that is not there: with the nearest one, or all, or how to add the first."""
    names = sorted(known)
    wanted = name_key(name)
    nearest = [n for n in names if wanted and name_key(n).startswith(wanted)]
    if not nearest:
        near = difflib.get_close_matches(wanted, [name_key(n) for n in names], n=1, cutoff=0.5)
        nearest = [n for n in names if near and name_key(n) == near[0]]
    if nearest:
        hint = f"did you mean {nearest[0]!r}?"
    elif names:
        hint = "known: " + ", ".join(repr(n) for n in names[:10])
    else:
        hint = add_hint
    return UnknownNameError(f"there is no {kind} named {name!r}", hint=hint)
