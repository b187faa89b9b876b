"""Rules in words."""

from __future__ import annotations

import pytest

from vbm.policy.retention import Gfs, Rules
from vbm.policy.schedule import Schedule
from vbm.policy.selection import Selection
from vbm.policy.words import retention_words, schedule_words, selection_words


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 3 * * *", "every day 03:00 UTC"),
        ("30 22 * * 1-5", "Monday to Friday 22:30 UTC"),
        ("0 1 * * sat,sun", "Saturday and Sunday 01:00 UTC"),
        ("5 4 * * 0", "every Sunday 04:05 UTC"),
        ("5 4 * * 1,3,5", "Mon, Wed, Fri 04:05 UTC"),
        ("0 1,13 * * *", "every day 01:00, 13:00 UTC"),
        ("15 * * * *", "every hour at :15 UTC"),
        ("*/20 * * * *", "every 20 minutes UTC"),
        ("10 */6 * * *", "every 6 hours at :10 UTC"),
        ("0 3 1 * *", "on day 1 of each month 03:00 UTC"),
        ("0 3 * 6 *", "cron 0 3 * 6 * UTC"),
        ("0-5 3 * * *", "cron 0-5 3 * * * UTC"),
    ],
)
def test_a_schedule(cron: str, said: str) -> None:
    assert schedule_words(Schedule(cron)) == said


def test_no_schedule() -> None:
    assert schedule_words(None) == "only when asked"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (Rules(), "keeps everything"),
        (Rules(keep_days=14), "keeps 14 days"),
        (Rules(keep_last=1), "keeps the last one"),
        (
            Rules(keep_days=7, keep_last=3, gfs=Gfs(weekly=4, monthly=12)),
            "keeps 7 days, the last 3, one of each of 4 weeks and one of each of 12 months",
        ),
    ],
)
def test_retention(rules: Rules, said: str) -> None:
    assert retention_words(rules) == said


def test_a_selection() -> None:
    assert selection_words(Selection(vms=("*",))) == "every VM"
    chosen = Selection(("a", "b", "c", "d"), folders=("x",), exclude=Selection(vms=("a1",)))
    assert selection_words(chosen) == "a, b, c and 2 more without a1"
