"""Users and API keys made at the command line open the API, and no more when they are ended there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.cli.api_key import expiry
from vbm.cli.main import app as command
from vbm.errors import InputError
from vbm.services.workspace import Workspace
from vbm.web.app import create_app
from vbm.web.options import WebOptions

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
PASSWORD = {"ANNA": "correct horse battery 7"}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("VBM_HOME", str(tmp_path))
    with Workspace.from_environment() as space:
        yield TestClient(create_app(space, WebOptions()))


def vbm(*words: str, code: int = 0) -> Result:
    answer = CliRunner().invoke(command, list(words), env=PASSWORD)
    assert answer.exit_code == code, answer.output
    return answer


def test_a_key_opens_what_its_role_may_until_it_is_revoked(client: TestClient) -> None:
    made = json.loads(vbm("api-key", "create", "--name", "grafana", "--role", "viewer", "--json").stdout)
    headers = {"x-api-key": made["key"]}
    assert client.get("/api/v1/jobs", headers=headers).status_code == 200
    assert client.get("/api/v1/users", headers=headers).status_code == 403
    listed = json.loads(vbm("api-key", "list", "--json").stdout)
    assert [(k["name"], k["last_used"] is not None, "key" in k) for k in listed] == [("grafana", True, False)]
    vbm("api-key", "revoke", made["id"])
    assert client.get("/api/v1/jobs", headers=headers).status_code == 401
    vbm("api-key", "revoke", made["id"], code=3)


def test_a_user_signs_in_until_disabled(client: TestClient) -> None:
    given = {"name": "anna", "password": PASSWORD["ANNA"]}
    made = vbm("user", "add", "anna", "--role", "admin", "--password-env", "ANNA", "--json")
    assert "password" not in json.loads(made.stdout)
    vbm("user", "add", "otto", "--role", "admin", "--password-env", "ANNA")
    assert client.post("/sign-in", data=given, follow_redirects=False).status_code == 303
    assert client.get("/api/v1/users").status_code == 200
    vbm("user", "set-role", "anna", "--role", "viewer")
    assert client.get("/api/v1/users").status_code == 403
    vbm("user", "disable", "anna")
    assert client.get("/api/v1/jobs").status_code == 401
    vbm("user", "disable", "otto", code=4)  # the last administrator
    vbm("user", "disable", "anna", "--undo")
    assert [user["disabled"] for user in json.loads(vbm("user", "list", "--json").stdout)] == [False, False]
    vbm("user", "set-password", "anna", "--password-env", "ANNA")
    assert "anna" in vbm("user", "list").stdout


def test_secrets_come_from_variables_alone(client: TestClient) -> None:
    vbm("user", "add", "vera", "--role", "viewer", code=2)  # no terminal to ask at
    vbm("user", "add", "vera", "--role", "viewer", "--password-env", "UNSET", code=2)
    vbm("user", "add", "vera", "--role", "king", "--password-env", "ANNA", code=2)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("90d", "2027-02-21T10:00:00+00:00"),
        ("2027-01-31", "2027-02-01T00:00:00+00:00"),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00+00:00"),
    ],
)
def test_an_end_is_written_as_people_do(text: str, end: str) -> None:
    assert expiry(text, NOW).isoformat() == end


@pytest.mark.parametrize("text", ["", "0d", "soon", "90", "9999999d"])
def test_an_end_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        expiry(text, NOW)


def _vcenter(name: str) -> None:
    with Workspace.from_environment() as space, space.catalog.writing() as session:
        record = VcenterRecord(
            name.replace("/", "-"), name, "h", 1, "u", "00" * 32, "", "", "", NOW, sealed_password=""
        )
        insert_vcenter(session, record)


def test_limits_to_folders_are_given_kept_and_taken_away(client: TestClient) -> None:
    """A vCenter's name may hold a slash: the longest that is one is meant."""
    for name in ("lab", "lab/two"):
        _vcenter(name)
    admin = json.loads(vbm("api-key", "create", "--name", "a", "--role", "admin", "--json").stdout)["key"]
    vbm("user", "add", "otto", "--role", "admin", "--password-env", "ANNA")
    add = ("user", "add", "anna", "--role", "viewer", "--password-env", "ANNA", "--json")
    made = json.loads(vbm(*add, "--folder", "lab/Tenants/Blue/", "--folder", "lab/two/Red").stdout)
    folders = [{"vcenter_id": "lab", "path": "Tenants/Blue"}, {"vcenter_id": "lab-two", "path": "Red"}]
    assert (made["vcenters"], made["folders"]) == ([], folders)
    listed = vbm("user", "list").stdout
    assert "lab/Tenants/Blue" in listed
    assert "lab/two/Red" in listed

    def patched(**fields: object) -> dict[str, object]:
        where, headers = f"/api/v1/users/{made['id']}", {"x-api-key": admin}
        etag = client.get(where, headers=headers).headers["etag"]
        answer = client.patch(where, json=fields, headers=headers | {"if-match": etag})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    kept = patched(vcenters=["lab/two"])
    assert (kept["vcenters"], kept["folders"]) == (["lab-two"], folders[:1])  # all of it holds its folders
    assert patched(role="operator")["folders"] == folders[:1]
    assert patched(folders=[])["vcenters"] == ["lab-two"]
    vbm("user", "set-role", "anna", "--role", "viewer", "--folder", "lab/Green", "--folder", "lab/green/")
    assert patched()["folders"] == [{"vcenter_id": "lab", "path": "Green"}]
    vbm("user", "set-role", "anna", "--role", "viewer", "--everywhere")
    assert (patched()["vcenters"], patched()["folders"]) == ([], [])


@pytest.mark.parametrize("folder", ["lab", "lab/", "lab//", "elsewhere/Blue", "/Blue", ""])
def test_what_names_no_folder_gives_no_limit_and_no_user(client: TestClient, folder: str) -> None:
    _vcenter("lab")
    refused = vbm(
        "user", "add", "anna", "--role", "admin", "--password-env", "ANNA", "--folder", folder, code=2
    )
    assert "VCENTER/FOLDER" in refused.stderr
    assert "anna" not in vbm("user", "list").stdout
