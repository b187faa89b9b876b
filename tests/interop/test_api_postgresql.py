"""The API on a real PostgreSQL database, where several servers may answer at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures_api import JOB, ApiSite
from fixtures_postgresql import postgresql
from vbm.services import jobs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with postgresql() as server:
        made = ApiSite(tmp_path_factory.mktemp("api"), database_url=server.url.format("postgres"))
        yield made
        made.close()


def at_once(count: int, call: Any) -> list[Any]:
    """What so many answer that begin at the same moment."""
    answers: list[Any] = []
    start = threading.Barrier(count)

    def work() -> None:
        start.wait(10)
        answers.append(call())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_many_with_one_key_one_is_carried_out(site: ApiSite) -> None:
    headers = {"Idempotency-Key": "one of many"}
    answers = at_once(8, lambda: site.ask("POST", "/jobs", JOB | {"name": "weekly"}, headers=headers))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) <= {201, 409}, [answer.text for answer in answers]
    assert 201 in statuses
    codes = {answer.json()["code"] for answer in answers if answer.status_code == 409}
    assert codes <= {"idempotency-under-way"}
    assert [job.name for job in jobs.listing(site.space)].count("weekly") == 1


def test_of_many_changes_to_one_state_one_is_made(site: ApiSite) -> None:
    tag = site.ask("GET", "/jobs/nightly").headers["etag"]
    answers = at_once(
        8, lambda: site.ask("PATCH", "/jobs/nightly", {"priority": 7}, headers={"If-Match": tag})
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


def test_lists_and_filters_work_there_too(site: ApiSite) -> None:
    now = site.space.clock.now()
    pinned = site.points(2, pinned=True)
    site.points(2, verified=now, verified_mode="full", verified_good=False)
    runs = site.runs(3)

    def ids(path: str) -> list[str]:
        answer = site.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert ids("/backups?pinned=true") == pinned[::-1]
    assert len(ids("/backups?verified=damaged&until=2100-01-01T00:00:00Z")) == 2
    assert len(ids("/backups?verified=never")) == 2
    assert ids("/runs?repository=main&since=2020-01-01T00:00:00Z") == runs[::-1]
    for path in ("/jobs/%00", "/backups?vm=%00", "/runs?vm=a%00b"):
        assert site.ask("GET", path).status_code in {400, 404, 200}, path
