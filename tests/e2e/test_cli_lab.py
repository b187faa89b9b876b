"""The command line against a running lab: what a newcomer does, and every wrong input on the way."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from vbm.cli.main import app
from vbm.lab.server import Lab, LabOptions
from vbm.units import MIB

PASSPHRASE = "correct horse"
ODD_NAMES = ["web 01", "päiväkoti-日本", "100%25", "a[1]b", "x%2fy"]


def image(path: Path, size_bytes: int, seed: int) -> Path:
    """A raw disk: data at its start, a hole, data near its end."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        file.write(noise.randbytes(2 * MIB))
        file.seek(size_bytes - MIB)
        file.write(noise.randbytes(MIB))
    return path


class Cli:
    """Runs ``vbm`` in this process with an environment of its own."""

    def __init__(self, home: Path, password: str) -> None:
        self.home = home
        self.environment: dict[str, str | None] = {
            name: None for name in os.environ if name.startswith(("VBM_", "VCENTER_"))
        }
        self.environment |= {
            "VBM_HOME": str(home),
            "VCENTER_PASSWORD": password,
            "REPO_PW": PASSPHRASE,
            "COLUMNS": "140",
        }

    def __call__(self, *arguments: str, **environment: str | None) -> Result:
        return CliRunner().invoke(app, list(arguments), env=self.environment | environment, prog_name="vbm")

    def json(self, *arguments: str) -> Any:
        """The one document on standard output of a command that ends well."""
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


def fails_clearly(done: Result, code: int, *words: str) -> None:
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split()), done.stderr


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder / "state", LabOptions(preset="empty")) as served:
        from vbm.lab import guest

        for number, name in enumerate(["web01", "web02", *ODD_NAMES]):
            raw = image(folder / f"{number}.raw", 8 * MIB, number)
            guest.create_vm_from_raw(served.state, name, [raw], power_on=True)
        yield served


@pytest.fixture(scope="module")
def ready(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home that knows the lab and an encrypted repository, and holds a restore point of web01."""
    home = tmp_path_factory.mktemp("home")
    cli = Cli(home / "vbm", lab.password)
    address = f"{lab.host}:{lab.port}"
    added = cli(
        "vcenter", "add", "lab", "--host", address, "--username", lab.username, "--thumbprint", lab.thumbprint
    )
    assert added.exit_code == 0, added.output
    made = cli("repository", "create", "main", str(home / "repo"), "--passphrase-env", "REPO_PW")
    assert made.exit_code == 0, made.output
    return cli


@pytest.fixture(scope="module")
def first(ready: Cli) -> dict[str, Any]:
    """The document of a first backup of web01."""
    return ready.json("backup", "web01", "--repository", "main")


@pytest.fixture
def fresh(lab: Lab, tmp_path: Path) -> Cli:
    """A home that knows nothing."""
    return Cli(tmp_path / "vbm", lab.password)


def add(cli: Cli, lab: Lab, **changes: str) -> Result:
    options = {
        "host": f"{lab.host}:{lab.port}",
        "username": lab.username,
        "thumbprint": lab.thumbprint,
    } | changes
    return cli(
        "vcenter", "add", "lab", *(w for n, v in options.items() for w in (f"--{n.replace('_', '-')}", v))
    )


def test_a_wrong_thumbprint_is_refused_before_the_password_is_sent(fresh: Cli, lab: Lab) -> None:
    done = add(fresh, lab, thumbprint="00" * 32)
    fails_clearly(done, 4, "wrong-thumbprint", lab.thumbprint)
    assert fresh.json("vcenter", "list") == []


def test_a_wrong_password_is_refused_and_nothing_is_stored(fresh: Cli, lab: Lab) -> None:
    fresh.environment["VCENTER_PASSWORD"] = "wrong"
    fails_clearly(add(fresh, lab), 4, "wrong-password")
    assert fresh.json("vcenter", "list") == []


def test_without_a_thumbprint_the_servers_is_shown_to_compare(fresh: Cli, lab: Lab) -> None:
    done = fresh("vcenter", "add", "lab", "--host", f"{lab.host}:{lab.port}", "--username", lab.username)
    fails_clearly(done, 2, lab.thumbprint, "--thumbprint")


def test_a_second_vcenter_of_a_name_is_refused(ready: Cli, lab: Lab) -> None:
    done = ready(
        "vcenter",
        "add",
        "LAB",
        "--host",
        f"{lab.host}:{lab.port}",
        "--username",
        "u",
        "--thumbprint",
        "00" * 32,
    )
    fails_clearly(done, 2, "there is a vCenter named 'LAB' already")


def test_no_secret_lies_in_the_home_in_clear(ready: Cli, lab: Lab, first: dict[str, Any]) -> None:
    for path in ready.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert lab.password.encode() not in content, path
            assert PASSPHRASE.encode() not in content, path
            assert path.stat().st_mode & 0o077 == 0 or path.suffix not in {".db", ".key"}, path


def test_listed_vms_have_the_fields_of_the_contract(ready: Cli, lab: Lab) -> None:
    listed = ready.json("vm", "list")
    assert {vm["name"] for vm in listed} == {"web01", "web02", *ODD_NAMES}
    for vm in listed:
        assert {"name", "moref", "instance_uuid", "vcenter", "power_state", "disks", "protected"} <= set(vm)
        assert set(vm["disks"][0]) == {"key", "label", "capacity_bytes"}


def test_a_mistyped_vm_is_answered_with_the_nearest(ready: Cli) -> None:
    fails_clearly(ready("vm", "show", "wbe01"), 3, "'web01'")
    fails_clearly(ready("backup", "wbe01", "--repository", "main"), 3, "'web01'")


def test_a_mistyped_repository_or_vcenter_is_answered_with_the_nearest(ready: Cli) -> None:
    fails_clearly(ready("backup", "web01", "--repository", "mian"), 3, "'main'")
    fails_clearly(ready("backup", "web01", "--repository", "main", "--vcenter", "lap"), 3, "'lab'")


def test_a_first_backup_reads_all_and_its_document_has_the_contracts_fields(first: dict[str, Any]) -> None:
    assert {
        "run_id", "restore_point", "read_mode", "transport", "bytes_read", "bytes_changed", "bytes_audited",
        "bytes_new", "capacity_bytes", "duration_seconds", "snapshot_removed",
    } <= set(first)  # fmt: skip
    assert first["read_mode"] == "full"
    assert first["snapshot_removed"] is True


def test_a_second_backup_reads_what_changed(ready: Cli, lab: Lab, first: dict[str, Any]) -> None:
    lab.machine("web01").guest_write(0, 3 * MIB, b"new" * 1000)
    second = ready.json("backup", "web01", "--repository", "main")
    assert second["read_mode"] == "incremental"
    assert second["bytes_read"] <= 2 * MIB
    assert ready.json("vm", "show", "web01")["protected"] is True


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_vm_of_an_odd_name_goes_all_the_way(ready: Cli, lab: Lab, tmp_path: Path, name: str) -> None:
    made = ready.json("backup", name, "--repository", "main")
    listed = ready.json("restore-point", "list", "--vm", name)
    assert [p["vm_name"] for p in listed] == [name]
    assert name in ready("restore-point", "list", "--vm", name).stdout
    output = tmp_path / f"{name.replace('/', '_')}.raw"
    done = ready("restore", "disk", made["restore_point"], "--disk", "0", "--output", str(output))
    assert done.exit_code == 0, done.output
    dumped = tmp_path / "truth.raw"
    from vbm.lab import guest

    guest.dump(lab.machine(name), 0, dumped)
    assert output.read_bytes() == dumped.read_bytes()


def test_a_dry_run_makes_no_snapshot(ready: Cli, lab: Lab) -> None:
    before = len(lab.machine("web02").snapshots)
    document = ready.json("backup", "web02", "--repository", "main", "--dry-run")
    assert document["disks"][0]["included"] is True
    assert len(lab.machine("web02").snapshots) == before
    assert ready.json("restore-point", "list", "--vm", "web02") == []


def test_excluding_a_disk_that_is_not_there_names_those_that_are(ready: Cli) -> None:
    fails_clearly(ready("backup", "web01", "--repository", "main", "--exclude-disk", "9999"), 2, "2000")


def test_a_restore_point_is_found_by_an_unambiguous_end_of_its_id(ready: Cli, first: dict[str, Any]) -> None:
    point = first["restore_point"]
    assert ready.json("restore-point", "show", point[-10:])["restore_point_id"] == point
    fails_clearly(ready("restore-point", "show", point[:4]), 2, "restore points fit")
    fails_clearly(ready("restore-point", "show", point[:-1] + "zz"), 3, "not-found")


def test_a_restore_never_overwrites_unasked(ready: Cli, first: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "there.raw").write_text("precious")
    arguments = (
        "restore",
        "disk",
        first["restore_point"],
        "--disk",
        "0",
        "--output",
        str(tmp_path / "there.raw"),
    )
    fails_clearly(ready(*arguments), 2, "exists already")
    fails_clearly(ready(*arguments, "--force"), 2, "--yes")
    assert (tmp_path / "there.raw").read_text() == "precious"
    assert ready(*arguments, "--force", "--yes").exit_code == 0
    assert (tmp_path / "there.raw").stat().st_size == 8 * MIB


def test_a_disk_that_is_not_there_is_answered_with_those_that_are(
    ready: Cli, first: dict[str, Any], tmp_path: Path
) -> None:
    for wrong, code in (("7", 3), ("-1", 2), ("x", 2)):
        done = ready(
            "restore", "disk", first["restore_point"], f"--disk={wrong}", "--output", str(tmp_path / "o")
        )
        fails_clearly(done, code, "2000")


def test_pinning_shows_and_ends(ready: Cli, first: dict[str, Any]) -> None:
    def pinned() -> bool:
        listed = ready.json("restore-point", "list")
        return next(p["pinned"] for p in listed if p["id"] == first["restore_point"])

    assert ready("restore-point", "pin", first["restore_point"]).exit_code == 0
    assert pinned()
    assert ready("restore-point", "unpin", first["restore_point"]).exit_code == 0
    assert not pinned()


def test_a_repository_is_read_by_its_address_with_no_database(
    ready: Cli, first: dict[str, Any], tmp_path: Path
) -> None:
    stranger = Cli(tmp_path / "nothing-here", "")
    url = (ready.home.parent / "repo").as_uri()
    direct = ("--repository-url", url, "--passphrase-env", "REPO_PW")
    listed = stranger.json("restore-point", "list", *direct)
    assert first["restore_point"] in [p["id"] for p in listed]
    output = tmp_path / "disk.raw"
    done = stranger(
        "restore", "disk", first["restore_point"], "--disk", "0", "--output", str(output), *direct
    )
    assert done.exit_code == 0, done.output
    assert output.stat().st_size == 8 * MIB
    assert not stranger.home.exists()


def test_a_wrong_passphrase_is_one_clear_error(ready: Cli, first: dict[str, Any]) -> None:
    url = (ready.home.parent / "repo").as_uri()
    done = ready(
        "restore-point", "list", "--repository-url", url, "--passphrase-env", "REPO_PW", REPO_PW="no"
    )
    fails_clearly(done, 4, "wrong-key")
    fails_clearly(ready("restore-point", "list", "--repository-url", url), 4, "encrypted")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///tmp/../etc/x", 2),
        ("gopher://x/y", 2),
        ("file://host/x", 2),
        ("", 2),
        ("file:///", 2),
        ("file:///proc/nothing", 4),
    ],
)
def test_an_address_that_can_not_be_a_repository_is_refused(ready: Cli, url: str, code: int) -> None:
    done = ready("repository", "create", "other", url, "--no-encryption")
    assert done.exit_code == code, done.output
    assert [r["name"] for r in ready.json("repository", "list")] == ["main"]


def test_another_master_key_is_named_as_the_cause(ready: Cli, first: dict[str, Any]) -> None:
    done = ready("restore-point", "list", VBM_MASTER_KEY="ab" * 32)
    fails_clearly(done, 4, "master-key")


def test_keys_are_added_listed_and_revoked(fresh: Cli, tmp_path: Path) -> None:
    assert (
        fresh("repository", "create", "r", str(tmp_path / "r"), "--passphrase-env", "REPO_PW").exit_code == 0
    )
    added = fresh.json("repository", "keys", "r", "add", "--recovery")
    url = ("--repository-url", (tmp_path / "r").as_uri())
    fresh.environment["RECOVERY"] = added["recovery_key"]
    assert len(fresh.json("repository", "keys", "list", *url, "--recovery-key-env", "RECOVERY")) == 2
    slots = {s["kind"]: s["id"] for s in fresh.json("repository", "keys", "r")}
    fails_clearly(fresh("repository", "keys", "r", "revoke", slots["passphrase"]), 2, "--yes")
    revoked = fresh("repository", "keys", "r", "revoke", slots["passphrase"], "--yes")
    assert revoked.exit_code == 0
    assert "no longer opens" in revoked.stderr
    fails_clearly(fresh("restore-point", "list"), 4, "wrong-key")


def test_a_key_file_that_is_gone_is_named(fresh: Cli, tmp_path: Path) -> None:
    key = tmp_path / "repo.key"
    key.write_bytes(random.Random(1).randbytes(32))
    assert fresh("repository", "create", "r", str(tmp_path / "r"), "--key-file", str(key)).exit_code == 0
    assert fresh.json("restore-point", "list") == []
    key.rename(tmp_path / "elsewhere")
    fails_clearly(fresh("restore-point", "list"), 3, str(key))


def test_removing_asks_first_and_keeps_the_data(fresh: Cli, tmp_path: Path) -> None:
    assert fresh("repository", "create", "r", str(tmp_path / "r"), "--no-encryption").exit_code == 0
    fails_clearly(fresh("repository", "remove", "r"), 2, "--yes")
    assert fresh("repository", "remove", "r", "--yes").exit_code == 0
    assert (tmp_path / "r" / "config").exists()
    assert fresh("repository", "add", "again", str(tmp_path / "r"), "--no-encryption").exit_code == 0


def test_a_terminated_backup_removes_its_snapshot(lab: Lab, ready: Cli, tmp_path: Path) -> None:
    """A real process, SIGTERM while it reads: exit code 130, no snapshot left, no restore point."""
    lab.fault("/folder delay=0.5")
    try:
        environment = {k: v for k, v in (os.environ | ready.environment).items() if v is not None}
        child = subprocess.Popen(
            [sys.executable, "-m", "vbm", "backup", "web02", "--repository", "main", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stderr is not None
        with child:
            for line in child.stderr:
                if line.startswith("Downloading"):
                    child.terminate()
                    break
            assert child.stdout is not None
            rest, out = child.stderr.read(), child.stdout.read()
        assert child.returncode == 130, rest
        assert out == ""
        assert "SIGTERM" in rest
    finally:
        lab.rules.clear()
    assert lab.machine("web02").snapshots == []
    assert ready.json("restore-point", "list", "--vm", "web02") == []


def test_a_removed_lab_folder_is_a_clear_error(ready: Cli, tmp_path: Path) -> None:
    fails_clearly(ready("lab", "day", "--state", str(tmp_path / "no"), "--vm", "x"), 3, "no lab in")
    shutil.rmtree(tmp_path)


def test_a_snapshot_of_a_killed_backup_goes_with_the_next_command(lab: Lab, ready: Cli) -> None:
    """kill -9 while a real process reads; then a mere listing removes what it left."""
    lab.fault("/folder delay=0.5")
    environment = {k: v for k, v in (os.environ | ready.environment).items() if v is not None}
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "vbm", "backup", "web02", "--repository", "main"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stderr is not None
        with child:
            for line in child.stderr:
                if line.startswith("Downloading"):
                    child.kill()
                    break
    finally:
        lab.rules.clear()
    assert child.returncode == -9
    assert len(lab.machine("web02").snapshots) == 1
    listed = ready("vm", "list", "--json")
    assert json.loads(listed.stdout)
    assert "that was left on web02" in listed.stderr
    assert lab.machine("web02").snapshots == []


def test_a_whole_vm_is_restored_beside_the_original(ready: Cli, lab: Lab, first: dict[str, Any]) -> None:
    arguments = ("restore", "vm", first["restore_point"], "--vcenter", "lab")
    fails_clearly(ready(*arguments), 2, "--name")
    fails_clearly(ready(*arguments, "--in-place"), 2, "--yes", "is lost")
    fails_clearly(ready(*arguments, "--name", "n", "--datastore", "datastroe1"), 2, "datastore1")
    fails_clearly(ready(*arguments, "--name", "n", "--datastore", "../etc"), 2)
    fails_clearly(ready(*arguments, "--name", "n", "--network", "VM Network"), 2, "write it like")
    assert ready.json(*arguments, "--name", "copy", "--dry-run")["dry_run"] is True
    made = ready.json(*arguments, "--name", "copy [1]")
    assert made["capacity_bytes"] == 8 * MIB
    assert lab.machine("copy [1]").power_state == "poweredOff"
    fails_clearly(ready(*arguments, "--name", "copy [1]"), 2, "copy [1]")


def test_damage_is_named_with_restore_point_disk_and_range(fresh: Cli, lab: Lab, tmp_path: Path) -> None:
    assert add(fresh, lab).exit_code == 0
    assert (
        fresh("repository", "create", "r", str(tmp_path / "r"), "--passphrase-env", "REPO_PW").exit_code == 0
    )
    made = fresh.json("backup", "web01", "--repository", "r")
    point = made["restore_point"]

    def remembered() -> tuple[str, bool]:
        verified = fresh.json("restore-point", "list")[0]["verified"]
        return verified["mode"], verified["good"]

    assert fresh.json("restore-point", "list")[0]["verified"] is None
    assert fresh.json("restore-point", "verify", point, "--quick")["good"] is True
    assert remembered() == ("quick", True)
    assert fresh.json("restore-point", "verify", point)["good"] is True
    assert fresh.json("repository", "check", "r", "--read-data")["bytes_checked"] > 0
    assert remembered() == ("full", True)
    pack = max(
        (p for p in (tmp_path / "r" / "packs").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(pack.read_bytes())
    content[1000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    done = fresh("restore-point", "verify", point, "--json")
    assert done.exit_code == 5
    damages = json.loads(done.stdout)["damages"]
    assert [(d["restore_point"], d["disk_key"], d["length"]) for d in damages] == [(point, 2000, MIB)]
    assert remembered() == ("full", False)
    assert "DAMAGED" in fresh("restore-point", "list").stdout
    assert fresh("repository", "check", "r", "--read-data").exit_code == 5
    output = tmp_path / "o.raw"
    fails_clearly(fresh("restore", "disk", point, "--disk", "0", "--output", str(output)), 5, "damaged")
    assert not output.exists()
    assert fresh.json("backup", "web01", "--repository", "r", "--mode", "full")["read_mode"] == "full"
    assert fresh.json("restore-point", "verify", point)["good"] is True


def test_a_vm_is_put_back_in_place_only_when_it_is_off_and_only_when_meant(
    fresh: Cli, lab: Lab, tmp_path: Path
) -> None:
    assert add(fresh, lab).exit_code == 0
    assert fresh("repository", "create", "r", str(tmp_path / "r"), "--no-encryption").exit_code == 0
    machine = lab.machine("web02")
    point = fresh.json("backup", "web02", "--repository", "r")["restore_point"]
    before = machine.guest_read(0, 0, MIB)
    machine.guest_write(0, 0, b"ransom" * 1000)
    arguments = ("restore", "vm", point, "--vcenter", "lab", "--in-place")
    fails_clearly(fresh(*arguments, "--yes"), 2)
    machine.power_off()
    fails_clearly(fresh(*arguments), 2, "--yes")
    assert machine.guest_read(0, 0, 6) == b"ransom"
    done = fresh(*arguments, "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert machine.guest_read(0, 0, MIB) == before
    machine.power_on()
