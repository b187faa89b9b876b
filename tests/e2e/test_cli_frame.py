"""The installed command as a newcomer meets it: help everywhere, clean streams, exit codes, one clear error."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from vbm.cli.main import app
from vbm.cli.reference import commands

ROOT = typer.main.get_command(app)
PATHS = sorted(path for path, _ in commands(ROOT))
SECRET = "correct horse battery staple"


@pytest.fixture
def vbm(tmp_path: Path):
    """Runs the command in this process with a home of its own and nobody at the terminal."""
    unset: dict[str, str | None] = {k: None for k in os.environ if k.startswith(("VBM_", "VCENTER_"))}

    def run(*arguments: str, **environment: str) -> Result:
        own = {"VBM_HOME": str(tmp_path / "home"), "COLUMNS": "100"}
        return CliRunner().invoke(app, list(arguments), env=unset | own | environment, prog_name="vbm")

    return run


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vbm", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def fails_clearly(done: Result, code: int, *words: str) -> None:
    """One message on standard error that holds these words, nothing on standard output, no traceback."""
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Error") == 1, done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split())


@pytest.mark.parametrize("path", PATHS)
def test_every_command_has_help_with_an_example(path: str) -> None:
    context = dict(commands(ROOT))[path]
    command = context.command
    assert command.help
    assert command.help.split("\n")[0].endswith((".", ":"))
    assert "Example" in (command.epilog or ""), path
    assert f"`{path}" in command.epilog
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{path}: {parameter.name} is not explained"


@pytest.mark.parametrize("path", PATHS)
def test_help_ends_well_and_fits_a_narrow_terminal(path: str) -> None:
    result = CliRunner().invoke(app, [*path.split()[1:], "--help"], env={"COLUMNS": "80"}, prog_name="vbm")
    assert result.exit_code == 0
    assert "Usage: " + path in result.output
    assert all(len(line) <= 80 for line in result.output.splitlines())
    assert not re.search(r"<[a-z]", result.output), "a type of the programming language instead of a metavar"


def test_top_level_help_is_quick_for_it_loads_no_command() -> None:
    code = (
        "import sys, typer\n"
        "from vbm.cli.main import app\n"
        "try:\n    app(['--help'], prog_name='vbm')\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'sqlalchemy', 'alembic', 'pyVmomi', 'numpy', 'cryptography', 'vbm.cli.backup'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("demo", "vcenter", "repository", "backup", "restore-point"):
        assert word in done.stdout


def test_the_version_is_printed() -> None:
    done = process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("vbm ")


def test_a_mistyped_command_is_answered_with_the_nearest(vbm) -> None:
    fails_clearly(vbm("vcentre"), 2, "Did you mean 'vcenter'")


@pytest.mark.parametrize("command", ["vcenter", "repository", "vm", "restore-point"])
def test_an_empty_listing_is_an_empty_document_and_says_what_to_do_next(vbm, command: str) -> None:
    as_json = vbm(command, "list", "--json")
    if as_json.exit_code == 3:
        assert as_json.stdout == ""
        assert "vbm " in as_json.stderr
        return
    assert (as_json.exit_code, json.loads(as_json.stdout), as_json.stderr) == (0, [], "")
    plain = vbm(command, "list")
    assert plain.exit_code == 0
    assert "vbm " in plain.stderr


def test_a_vcenter_needs_a_trusted_certificate_before_any_password(vbm) -> None:
    fails_clearly(
        vbm("vcenter", "add", "x", "--host", "127.0.0.1:1", "--username", "u"), 1, "127.0.0.1:1", "port"
    )


def test_thumbprint_and_ca_together_are_refused(vbm) -> None:
    done = vbm(
        "vcenter", "add", "x", "--host", "h", "--username", "u", "--thumbprint", "ab" * 32, "--ca-file", "f"
    )
    fails_clearly(done, 2, "not both")


def test_a_thumbprint_of_the_wrong_kind_is_refused(vbm) -> None:
    arguments = ("vcenter", "add", "x", "--host", "127.0.0.1:1", "--username", "u", "--thumbprint")
    fails_clearly(vbm(*arguments, "ab" * 20, VCENTER_PASSWORD=SECRET), 2, "SHA-1", "SHA-256")
    fails_clearly(vbm(*arguments, "zz", VCENTER_PASSWORD=SECRET), 2, "64 hex digits")


def test_a_missing_password_names_the_variable(vbm) -> None:
    arguments = ("vcenter", "add", "x", "--host", "h", "--username", "u", "--thumbprint", "ab" * 32)
    fails_clearly(vbm(*arguments), 2, "VCENTER_PASSWORD is not set")
    fails_clearly(vbm(*arguments, "--password-env", "OTHER"), 2, "OTHER is not set")


def test_a_home_that_is_no_folder_is_one_clear_error(vbm, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = vbm("vcenter", "list", VBM_HOME=str(tmp_path / "file"))
    fails_clearly(done, 4, "VBM_HOME")


def test_a_traceback_is_shown_only_when_asked_for(vbm) -> None:
    assert "Traceback" not in vbm("vcenter", "test", "x").stderr
    assert "Traceback" in vbm("vcenter", "test", "x", VBM_DEBUG="1").stderr


def test_the_database_is_upgraded_on_request(vbm) -> None:
    first = vbm("db", "upgrade", "--json")
    assert json.loads(first.stdout)["before"] is None
    assert "already" in vbm("db", "upgrade").stdout


def test_completion_offers_commands() -> None:
    done = process(_VBM_COMPLETE="complete_bash", COMP_WORDS="vbm re", COMP_CWORD="1")
    assert done.stdout.split() == ["repository", "recover-catalog", "restore-point", "restore"]


def test_completion_offers_names_from_the_catalog(vbm, tmp_path: Path) -> None:
    made = vbm("repository", "create", "main", str(tmp_path / "r"), "--no-encryption")
    assert made.exit_code == 0, made.output
    done = process(
        _VBM_COMPLETE="complete_bash",
        COMP_WORDS="vbm repository remove m",
        COMP_CWORD="3",
        VBM_HOME=str(tmp_path / "home"),
    )
    assert done.stdout.split() == ["main"]


def test_a_closed_pipe_is_no_defect() -> None:
    done = subprocess.run(
        f"{sys.executable} -m vbm --help | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_the_first_signal_cancels_and_the_second_says_what_is_being_finished() -> None:
    code = (
        "import sys\n"
        "from vbm.cli.signals import cancellable\n"
        "with cancellable('the snapshot is being removed') as token:\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    print(token.cancelled, token.reason, flush=True)\n"
        "    sys.stdin.readline()\n"
        "print('end', flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    with child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stderr.readline() == "\n"
        assert child.stderr.readline() == "SIGTERM: stopping.\n"
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "True SIGTERM\n"
        child.send_signal(signal.SIGINT)
        assert child.stderr.readline() == "\n"
        assert "the snapshot is being removed" in child.stderr.readline()
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "end\n"
    assert child.returncode == 0
