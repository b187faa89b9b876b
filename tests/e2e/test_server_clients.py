"""Clients of a running server: commands with the same answers here and there, the Python client, Ansible."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fixtures_jobs import MIB, JobsRig
from fixtures_serve import Served
from vbm.cli.main import app
from vbm.client import Client, Server, ServerUnreachableError, ServerUntrustedError
from vbm.errors import InputError, NotAllowedError, NotFoundError, VbmError
from vbm.security.roles import Role
from vbm.services import api_keys, jobs
from vbm.services.api_keys import NewApiKey

ANSIBLE = Path(__file__).resolve().parents[2] / "deploy/ansible"


class Site:
    """A server with a worker over a lab, one backup done. ``vbm`` runs here, ``at`` at the server."""

    def __init__(self, folder: Path) -> None:
        self.rig = JobsRig(folder)
        self.rig.machine("web01", MIB)
        self.rig.job(schedule={"cron": "0 3 * * *"})
        space = self.rig.workspace
        self.keys = {role: api_keys.create(space, NewApiKey(role.value, role))[1] for role in Role}
        certificate, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                ),
                *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=elsewhere.example"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            check=True,
            capture_output=True,
        )
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
        self.certificate = certificate
        self.thumbprint = hashlib.sha256(der).hexdigest()
        arguments = ("--tls-certificate", str(certificate), "--tls-key", str(key))
        self.served = Served(self.rig.home, *arguments, VBM_ALLOW_LOOPBACK="1")
        self.served.__enter__()
        self.here = {k: v for k, v in self.rig.environment.items() if k.startswith("VBM_")} | {
            "COLUMNS": "200"
        }

    def there(self, role: Role = Role.ADMIN) -> dict[str, str]:
        home = {"VBM_HOME": str(self.rig.folder / "nothing-here"), "VBM_DATABASE_URL": ""}
        trust = {"VBM_API_KEY": self.keys[role], "VBM_SERVER_THUMBPRINT": self.thumbprint}
        return self.here | home | trust | {"VBM_SERVER": self.served.url}

    def vbm(self, *words: str, code: int = 0, env: dict[str, str] | None = None) -> Result:
        done = CliRunner().invoke(app, list(words), env=env or self.here, prog_name="vbm")
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done

    def at(self, *words: str, code: int = 0, role: Role = Role.ADMIN) -> Result:
        return self.vbm(*words, code=code, env=self.there(role))

    def client(self, role: Role = Role.ADMIN) -> Client:
        return Client(Server(self.served.url, self.keys[role], thumbprint=self.thumbprint))

    def close(self) -> None:
        self.served.__exit__(None, None, None)
        self.rig.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("server"))
    try:
        made.at("job", "run", "nightly", "--wait", role=Role.OPERATOR)
        yield made
    finally:
        made.close()


def same(site: Site, *words: str) -> Any:
    """What the command says here and at the server."""
    assert site.at(*words).stdout == site.vbm(*words).stdout
    here, there = (json.loads(one(*words, "--json").stdout) for one in (site.vbm, site.at))
    assert there == here
    return here


def test_lists_and_details_are_the_same_here_and_there(site: Site) -> None:
    assert [job["name"] for job in same(site, "job", "list")] == ["nightly"]
    assert same(site, "job", "show", "nightly")["job"]["schedule"]["cron"] == "0 3 * * *"
    (run,) = same(site, "run", "list", "--job", "nightly", "--state", "succeeded")
    assert same(site, "run", "show", run["id"][-10:])["restore_point_id"]
    assert same(site, "run", "logs", run["id"])
    assert [vm["name"] for vm in same(site, "vm", "list")] == ["web01"]
    (point,) = same(site, "restore-point", "list", "--vm", "web01")
    assert same(site, "restore-point", "show", point["id"][-10:])["vm_name"] == "web01"
    assert not (site.rig.folder / "nothing-here").exists()


def test_a_verification_and_a_restore_are_done_by_the_server(site: Site) -> None:
    (point,) = json.loads(site.at("restore-point", "list", "--json").stdout)
    verified = json.loads(
        site.at("restore-point", "verify", point["id"], "--json", role=Role.OPERATOR).stdout
    )
    assert (verified["good"], verified["restore_points"], verified["damages"]) == (True, 1, [])
    assert set(verified) == set(json.loads(site.vbm("restore-point", "verify", point["id"], "--json").stdout))
    restore = ("restore", "vm", point["id"], "--vcenter", "lab", "--name", "again")
    planned = json.loads(site.at(*restore, "--dry-run", "--json").stdout)
    assert planned["dry_run"] is True
    made = site.at(*restore, role=Role.OPERATOR)
    assert "Restored again" in made.stdout
    assert "again" in {machine.name for machine in site.rig.lab.state.machines.values()}
    taken = site.at(*restore, code=1)
    assert "vm-name-taken" in taken.stderr


def test_errors_are_the_servers_with_the_same_exit_codes(site: Site) -> None:
    for words, code in (
        (("job", "show", "nihgtly"), 3),
        (("run", "show", "none"), 3),
        (("restore-point", "show", "none"), 3),
        (("restore", "vm", "none", "--vcenter", "lab", "--name", "x"), 3),
    ):
        here, there = site.vbm(*words, code=code), site.at(*words, code=code)
        assert there.stderr.count("Error") == here.stderr.count("Error") == 1
    assert "may not" in site.at("job", "run", "nightly", code=4, role=Role.VIEWER).stderr
    assert "ended already" in site.at("run", "cancel", _a_run(site), code=4).stderr


def _a_run(site: Site) -> str:
    return str(json.loads(site.at("run", "list", "--json").stdout)[-1]["id"])


def test_what_works_here_alone_says_so(site: Site) -> None:
    for words in (
        ("backup", "web01", "--repository", "main"),
        ("user", "list"),
        ("job", "delete", "nightly", "--yes"),
        ("db", "upgrade"),
    ):
        assert "not at a server" in site.at(*words, code=2).stderr
    url = (site.rig.folder / "repository").as_uri()
    assert "web01" in site.at("restore-point", "list", "--repository-url", url).stdout
    site.vbm("--server", "nowhere", "job", "list", code=2, env=site.there())


def test_the_client_pages_waits_and_tells_errors_apart(site: Site) -> None:
    with site.client() as client:
        names = [f"job {number}" for number in range(5)]
        for name in names:
            jobs.create(
                site.rig.workspace,
                {"name": name, "vcenter_id": "lab", "repository_id": "main", "selection": {"vms": ["none*"]}},
            )
        page = client.call("GET", "/jobs", params={"limit": 2})
        assert len(page["items"]) == 2
        assert {job["name"] for job in client.jobs()} >= set(names)
        with pytest.raises(VbmError, match="selects no VM"):
            client.wait_for_job(client.run_job("job 0"))
        for name in names:
            client.delete_job(name)
        with pytest.raises(NotFoundError) as missing:
            client.job("job 0")
        assert missing.value.code == "unknown-name"
        with pytest.raises(InputError):
            client.create_job({"name": "x"})
        tag = client.job("nightly")
        assert client.change_job("nightly", {"priority": 99})["id"] == tag["id"]
        with pytest.raises(NotAllowedError) as stale:
            client.change_job("nightly", {"priority": 98}, if_match='"old"')
        assert stale.value.code == "changed-meanwhile"
    with site.client(Role.VIEWER) as client, pytest.raises(NotAllowedError):
        client.run_job("nightly")


def test_a_server_is_trusted_by_its_certificate_alone(site: Site) -> None:
    with (
        pytest.raises(ServerUntrustedError),
        Client(Server(site.served.url, site.keys[Role.ADMIN], thumbprint="00" * 32)),
    ):
        pass
    with (
        Client(Server(site.served.url, site.keys[Role.ADMIN])) as client,
        pytest.raises(ServerUntrustedError),
    ):
        client.job("nightly")
    with pytest.raises(ServerUnreachableError), Client(Server("https://127.0.0.1:1", "k", thumbprint="00")):
        pass


def playbook(site: Site, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ansible-playbook")
    if not program.exists():
        pytest.skip("ansible-core is not installed")
    environment = os.environ | {
        "VBM_SERVER": site.served.url,
        "VBM_API_KEY": site.keys[Role.ADMIN],
        "VBM_VIEWER_KEY": site.keys[Role.VIEWER],
        "VBM_SERVER_CA_FILE": str(site.certificate),
        "ANSIBLE_COLLECTIONS_PATH": str(ANSIBLE),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    command = [program, "-i", "localhost,", ANSIBLE / "check.yml", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_ansible_makes_jobs_as_written_and_finds_restore_points(site: Site, tmp_path: Path) -> None:
    done = playbook(site, tmp_path, "-e", "at_least=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.keys[Role.ADMIN] not in done.stdout
    assert [job.name for job in jobs.listing(site.rig.workspace)] == ["nightly"]


def test_which_server_and_key_comes_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("vbm_abc\n")
    environment = {"VBM_SERVER": "https://vbm.example.org", "VBM_API_KEY_FILE": str(tmp_path / "key")}
    server = Server.from_environment(environment=environment)
    assert (server.url, server.api_key) == ("https://vbm.example.org", "vbm_abc")
    assert "vbm_abc" not in repr(server)
    for wrong in (
        {"VBM_SERVER": "vbm.example.org"},
        {"VBM_API_KEY_FILE": str(tmp_path / "none")},
        {"VBM_API_KEY_FILE": ""},
    ):
        with pytest.raises(InputError):
            Server.from_environment(environment=environment | wrong)


def test_damage_that_the_server_finds_ends_as_damage_found_here(site: Site) -> None:
    """The last one: the repository is spoilt."""
    (point,) = json.loads(site.at("restore-point", "list", "--json").stdout)
    largest = max((site.rig.folder / "repository").rglob("*"), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    spoilt = bytearray(largest.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    largest.write_bytes(spoilt)
    words = ("restore-point", "verify", point["id"])
    assert "DAMAGED: 1 of 1" in site.at(*words, code=5).stdout
    here, there = (json.loads(one(*words, "--json", code=5).stdout) for one in (site.vbm, site.at))
    assert there == here
    assert there["good"] is False
