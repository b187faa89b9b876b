"""Times that somebody sends: RFC 3339 with an offset, within the years that calendars know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _in_utc(given: datetime) -> datetime:
    if not 1970 <= given.year < 9999:
        raise ValueError("a year from 1970 to 9998")
    return given.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
