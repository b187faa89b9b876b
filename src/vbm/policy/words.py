"""A job's rules in words, for people who do not read cron: ``every day 03:00``, ``keeps 14 days``."""

from __future__ import annotations

from typing import Final

from vbm.policy.retention import Rules
from vbm.policy.schedule import Schedule
from vbm.policy.selection import Selection

_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NAMED: Final = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}


def schedule_words(schedule: Schedule | None) -> str:
    """Falls back to the expression itself where it has no short words."""
    if schedule is None:
        return "only when asked"
    fields = schedule.cron.split()
    words = _cron_words(*fields) if len(fields) == 5 else ""
    return f"{words or 'cron ' + schedule.cron} {schedule.timezone}"


def _cron_words(minute: str, hour: str, day: str, month: str, weekday: str) -> str:
    if month != "*":
        return ""
    if day == "*" and weekday == "*" and hour == "*":
        return _within_hours(minute)
    if minute.isdigit() and hour.startswith("*/") and (day, weekday) == ("*", "*"):
        return f"every {hour[2:]} hours at :{int(minute):02d}"
    if not minute.isdigit() or not all(part.isdigit() for part in hour.split(",")):
        return ""
    times = ", ".join(f"{int(part):02d}:{int(minute):02d}" for part in hour.split(","))
    if day != "*":
        return f"on day {day} of each month {times}" if day.isdigit() and weekday == "*" else ""
    days = _weekdays(weekday)
    return f"{days} {times}" if days else ""


def _within_hours(minute: str) -> str:
    if minute.isdigit():
        return f"every hour at :{int(minute):02d}"
    if minute == "*":
        return "every minute"
    return f"every {minute[2:]} minutes" if minute.startswith("*/") and minute[2:].isdigit() else ""


def _weekdays(field: str) -> str:
    if field == "*":
        return "every day"
    if field.lower() in {"1-5", "mon-fri"}:
        return "Monday to Friday"
    if field.lower() in {"0,6", "6,0", "6,7", "sat,sun"}:
        return "Saturday and Sunday"
    found = []
    for part in field.lower().split(","):
        number = int(part) % 7 if part.isdigit() else _NAMED.get(part)
        if number is None:
            return ""
        found.append(_DAYS[number])
    return "every " + " and ".join(found) if len(found) <= 2 else ", ".join(name[:3] for name in found)


def retention_words(rules: Rules) -> str:
    """What stays, the shortest first."""
    if rules.keeps_everything:
        return "keeps everything"
    parts = []
    if rules.keep_days:
        parts.append("a day" if rules.keep_days == 1 else f"{rules.keep_days} days")
    if rules.keep_last:
        parts.append("the last one" if rules.keep_last == 1 else f"the last {rules.keep_last}")
    for name, one in (("daily", "day"), ("weekly", "week"), ("monthly", "month"), ("yearly", "year")):
        count = getattr(rules.gfs, name)
        if count:
            parts.append(f"one of each of {count} {one}s" if count > 1 else f"one of the {one}")
    return "keeps " + (", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0])


def selection_words(selection: Selection, most: int = 3) -> str:
    """Its rules, the first of them."""
    rules = [
        *selection.vms,
        *(f"folder {path}" for path in selection.folders),
        *(f"resource pool {path}" for path in selection.resource_pools),
        *(f"tag {tag}" for tag in selection.tags),
        *selection.attributes,
    ]
    if rules == ["*"]:
        rules = ["every VM"]
    said = ", ".join(rules[:most]) + (f" and {len(rules) - most} more" if len(rules) > most else "")
    without = selection.exclude
    return f"{said} without {selection_words(without, 2)}" if without and not without.is_empty else said
