"""The dashboard, jobs and runs as people of each role see and use them, in a home with real backups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from fixtures_pages import HOSTILE, PagesRig
from vbm.catalog.runs import RunFilter, RunRecord, insert_runs
from vbm.ids import new_id
from vbm.policy.job import Job
from vbm.services import jobs, runs
from vbm.web.pages import job_form

PAGES = ("/", "/jobs", "/jobs/nightly", "/runs", "/parts/running", "/parts/capacity", "/parts/top")
FORM = {
    "name": "by form",
    "vms": "web*\ndb01",
    "often": "week",
    "time": "22:30",
    "weekday": "0",
    "timezone": "Europe/Paris",
    "keep_days": "14",
    "monthly": "12",
    "enabled": "yes",
    "attempts": "2",
}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesRig]:
    made = PagesRig(tmp_path_factory.mktemp("pages"))
    yield made
    made.close()


def form(rig: PagesRig, **change: str) -> dict[str, str]:
    record = jobs.get(rig.workspace, "nightly")
    places = {"vcenter_id": record.vcenter_id, "repository_id": record.repository_id}
    return FORM | places | change


def failed(rig: PagesRig) -> RunRecord:
    """A run that failed just now, as a worker would have left it."""
    done, now = rig.runs(vm="web01")[0], rig.workspace.clock.now()
    values = {name: getattr(done, name) for name in RunRecord.__dataclass_fields__}
    values |= {"id": new_id(now), "created": now, "state": "failed", "restore_point_id": "", "result": {}}
    values |= {
        "error_code": "datastore-full",
        "error_message": f"no room on {HOSTILE}",
        "error_hint": "make room",
    }
    record = RunRecord(**values)
    with rig.workspace.catalog.writing() as session:
        insert_runs(session, [record])
    return record


@pytest.mark.parametrize("name", ["anna", "otto", "vera"])
def test_every_role_sees_the_pages_and_only_its_own_buttons(name: str, rig: PagesRig) -> None:
    browser = rig.browser(name)
    for path in PAGES:
        assert browser.page(path)
    job, side = browser.page("/jobs/nightly"), browser.page("/jobs")
    assert ("Run now" in job) == (name != "vera")
    assert ("/edit" in job) == (name == "anna")
    assert ("Administration" in side) == (name == "anna")
    run = rig.runs(vm="web01")[-1]
    assert ("Logs are for operators" in browser.page(f"/runs/{run.id}")) == (name == "vera")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("otto", "/jobs/new"),
        ("otto", "/jobs/nightly/edit"),
        ("otto", "/jobs/nightly/enabled"),
        ("otto", "/jobs/nightly/delete"),
        ("otto", "/jobs/preview"),
        ("vera", "/jobs/nightly/run"),
        ("vera", "/jobs/nightly/cancel"),
    ],
)
def test_what_a_role_may_not_do_is_refused(name: str, path: str, rig: PagesRig) -> None:
    assert rig.browser(name).send(path, typed="nightly").startswith("403 ")


def test_a_form_without_the_sessions_token_changes_nothing(rig: PagesRig) -> None:
    browser = rig.browser("anna")
    for path in ("/jobs/nightly/run", "/jobs/nightly/delete", "/jobs/new"):
        browser.csrf = "forged"
        assert browser.send(path, **form(rig, typed="nightly")).startswith("403 ")
    assert jobs.get(rig.workspace, "nightly")


def test_names_of_vms_and_messages_are_text_everywhere(rig: PagesRig) -> None:
    browser, record = rig.browser("anna"), failed(rig)
    own = next(run for run in rig.runs() if run.vm_name == HOSTILE)
    for path in ("/", "/jobs/nightly", "/runs", f"/runs/{own.id}", f"/runs/{record.id}", "/runs?vm=<script>"):
        text = browser.page(path)
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    shown = browser.send("/jobs/preview", **form(rig, vms="*"))
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert" not in shown


class Tags(HTMLParser):
    """Every tag of a page with its attributes, as a browser takes them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def test_no_page_has_a_script_or_style_of_its_own_nor_leads_elsewhere(rig: PagesRig) -> None:
    browser = rig.browser("anna")
    for path in (*PAGES, "/jobs/new", f"/runs/{rig.runs()[0].id}", "/nowhere"):
        for tag, given in Tags(browser.client.get(path, headers={"accept": "text/html"}).text).found:
            assert tag != "style", path
            assert tag != "script" or given["src"].startswith("/static/"), path
            assert not any(name == "style" or name.startswith("on") for name in given), (path, tag)
            for name in ("src", "href", "action"):
                assert re.match(r"/(?!/)|#|$", given.get(name, "")), (path, tag, given)


def test_a_failed_run_begins_with_its_cause_and_the_dashboard_leads_to_it(rig: PagesRig) -> None:
    browser, record = rig.browser("anna"), failed(rig)
    page = browser.page(f"/runs/{record.id}")
    assert page.index("no room on") < page.index("h-log")
    assert "Make room." in page
    assert "datastore-full" in page
    first = browser.page("/")
    assert f'href="/runs/{record.id}"' in first
    assert "failed the last time" in first
    answer = browser.send(f"/runs/{record.id}/again")
    assert answer.startswith(f"/jobs/{record.job_id}?done=asked")


def test_a_job_is_made_changed_and_deleted_in_the_browser(rig: PagesRig) -> None:
    browser = rig.browser("anna")
    where = browser.send("/jobs/new", **form(rig))
    record = jobs.get(rig.workspace, "by form")
    assert where == f"/jobs/{record.id}?done=created"
    assert (record.job.selection.vms, record.job.keep_days, record.job.gfs.monthly) == (
        ("web*", "db01"),
        14,
        12,
    )
    assert record.document["schedule"]["cron"] == "30 22 * * 0"
    page = browser.page(where)
    assert "every Sunday 22:30 Europe/Paris" in page
    assert "keeps 14 days and one of each of 12 months" in page
    opened = browser.page(f"/jobs/{record.id}/edit")
    found = re.search(r'name="etag" value="([^"]+)"', opened)
    assert found is not None
    etag = found[1].replace("&#34;", '"')
    changed = form(rig, keep_days="30", etag=etag)
    assert browser.send(f"/jobs/{record.id}/edit", **changed).endswith("done=changed")
    assert jobs.get(rig.workspace, "by form").job.keep_days == 30
    assert "changed meanwhile" in browser.send(f"/jobs/{record.id}/edit", **changed)  # opened before that
    assert browser.send(f"/jobs/{record.id}/enabled", on="").endswith("done=off")
    assert not jobs.get(rig.workspace, "by form").enabled
    assert browser.send(f"/jobs/{record.id}/delete", typed="another").startswith("400 ")
    assert browser.send(f"/jobs/{record.id}/delete", typed="by form") == "/jobs?done=deleted"
    assert "by form" not in browser.page("/jobs")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name is missing"),
        ({"name": "nightly"}, "there is a job named"),
        ({"vms": ""}, "selects no VM"),
        ({"keep_days": "many"}, "is not a whole number"),
        ({"often": "cron", "cron": "61 * * * *"}, "not a schedule"),
        ({"time": "25:00"}, "is not a time of day"),
        ({"timezone": "Mars/Base"}, "no such time zone"),
        ({"window": "late"}, "not a backup window"),
    ],
)
def test_a_wrong_form_comes_back_with_what_is_wrong_and_what_was_typed(
    change: dict[str, str], said: str, rig: PagesRig
) -> None:
    answer = rig.browser("anna").send("/jobs/new", **form(rig, name="wrong") | change)
    assert answer[:3] in {"400", "409"}
    assert said.casefold() in answer.replace("&#39;", "'").casefold()
    assert 'value="Europe/Paris"' in answer or "timezone" in change


def test_the_preview_says_what_the_job_would_do(rig: PagesRig) -> None:
    browser = rig.browser("anna")
    shown = browser.send("/jobs/preview", **form(rig, vms="web*\nnowhere"))
    assert "<strong>1 VM</strong> now" in shown
    assert "No VM answers to vm nowhere" in shown
    assert shown.count("<time") >= 5
    assert "After a year of backups each VM has" in shown
    none = browser.send("/jobs/preview", **form(rig, vms="", name=""))
    assert "<strong>0 VMs</strong> now" in none
    assert "not a whole number" in browser.send("/jobs/preview", **form(rig, keep_last="x"))


def test_runs_are_filtered_by_their_address(rig: PagesRig) -> None:
    browser, record = rig.browser("vera"), failed(rig)
    assert record.id in browser.page("/runs?state=failed")
    assert record.id not in browser.page("/runs?state=succeeded")
    assert record.id in browser.page("/runs?job=nightly&vm=web01")
    assert record.id not in browser.page("/runs?vm=db01")
    assert record.id not in browser.page(f"/runs?before={record.id}")
    assert "No run fits" in browser.page("/runs?kind=restore")
    assert "there is no job" in browser.page("/runs?job=nope", 404).casefold()
    assert "there is no run" in browser.page("/runs/nope", 404).casefold()


def test_a_finished_run_is_its_report_with_each_disk(rig: PagesRig) -> None:
    done = next(run for run in rig.runs(vm="web01") if run.state == "succeeded")
    disk = done.disks[0]
    assert (disk["bytes_done"], disk["bytes_total"]) == (done.bytes_done, done.bytes_total)
    page = rig.browser("otto").page(f"/runs/{done.id}")
    assert disk["label"] in page
    assert "New in the repository" in page
    assert f"/restore-points/{done.restore_point_id}" in page
    assert "data-live" not in page


def test_a_waiting_run_is_live_and_can_be_cancelled(rig: PagesRig) -> None:
    now, done = rig.workspace.clock.now(), rig.runs(vm="db01")[-1]
    values = {name: getattr(done, name) for name in RunRecord.__dataclass_fields__}
    values |= {"id": new_id(now), "created": now, "state": "queued", "phase": "", "started": None}
    values |= {"finished": None, "result": {}, "disks": (), "restore_point_id": "", "snapshot_state": "none"}
    with rig.workspace.catalog.writing() as session:
        insert_runs(session, [RunRecord(**values)])
    browser, path = rig.browser("otto"), f"/runs/{values['id']}"
    assert f'data-live="/api/v1{path}/events"' in browser.page(path)
    assert browser.send(f"{path}/cancel") == path
    assert runs.listing(rig.workspace, RunFilter(states=("cancelled",)))[0].id == values["id"]
    assert "cancelled before it began" in browser.page(path).casefold()
    assert browser.send(f"{path}/cancel").startswith("409 ")


@pytest.mark.parametrize(
    "cron", ["0 3 * * *", "15 22 * * 1-5", "30 4 * * 0", "20 * * * *", "*/7 1 * * *", "0 3 1 * *", None]
)
def test_a_jobs_document_survives_its_form(cron: str | None) -> None:
    given = {
        "name": "one",
        "vcenter_id": "v",
        "repository_id": "r",
        "selection": {
            "vms": ["a*"],
            "folders": ["dc/x"],
            "tags": ["backup:daily"],
            "attributes": ["Owner=web*"],
            "exclude": {"vms": ["ab"], "tags": ["test"]},
        },
        "verify": "quick",
        "schedule": {"cron": cron, "timezone": "Europe/Paris", "window": "22:00-06:00"},
        "retention": {"keep_last": 3, "gfs": {"weekly": 4}},
        "excluded_disks": [2000, 2001],
        "limits": {"parallel_vms": 2, "bytes_per_second": 50 * 1024**2},
        "deadline_seconds": 7200,
        "notifications": [{"channel_id": "c", "on": ["failure"]}],
    }
    document = Job.from_document(given).to_document()
    values = job_form.values(document)
    fields = [(name, str(value)) for name, value in values.items() if not isinstance(value, tuple)]
    fields += [(name, one) for name, value in values.items() if isinstance(value, tuple) for one in value]
    assert Job.from_document(job_form.document(fields)) == Job.from_document(document)
    assert not job_form.unfit(document)


def test_search_finds_by_name_and_leads_to_an_id_at_once(rig: PagesRig) -> None:
    browser, run = rig.browser("vera"), rig.runs(vm="db01")[-1]
    assert "db01" in browser.page("/search?q=DB0")
    assert "nightly" in browser.page("/search?q=night")
    assert "Nothing has this name" in browser.page("/search?q=%3Cb%3Enope")
    assert browser.page("/search")
    answer = browser.client.get(f"/search?q={run.id}", follow_redirects=False)
    assert answer.headers["location"] == f"/runs/{run.id}"
    point = browser.client.get(f"/search?q={run.restore_point_id}", follow_redirects=False)
    assert point.headers["location"].startswith(("/restore-points/", "/runs/"))
