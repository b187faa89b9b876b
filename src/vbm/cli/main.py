"""The ``vbm`` command: finds a command's module when it is called for, and turns errors into exit codes.

Help of the top level and completion of its names load no command, so that both are quick.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Final, Never

import typer
from typer.core import TyperCommand, TyperGroup

import vbm
from vbm.allocator import keep_buffers
from vbm.cli import failures, logs, site
from vbm.cli.groups import without_types
from vbm.errors import VbmError


@dataclass(frozen=True, slots=True)
class _Lazy:
    module: str
    help: str
    panel: str


_WORK: Final = "Back up and restore"
_JOBS: Final = "Let it run by itself"
_SETUP: Final = "Set up"
_TRY: Final = "Try it"
_COMMANDS: Final = {
    "demo": _Lazy("demo", "Show the whole product on an embedded lab, compared byte for byte.", _TRY),
    "lab": _Lazy("lab", "Run a simulated vSphere to try the product on.", _TRY),
    "vcenter": _Lazy("vcenter", "Add, test and remove vCenters and ESXi hosts.", _SETUP),
    "repository": _Lazy("repository", "Create and look after repositories.", _SETUP),
    "channel": _Lazy("channel", "Tell people by mail, Slack, Teams, webhook and more.", _SETUP),
    "settings": _Lazy("settings", "Set limits for all jobs together, and the daily report.", _SETUP),
    "db": _Lazy("db", "Look after the product's own database.", _SETUP),
    "recover-catalog": _Lazy("recover_catalog", "List restore points anew from a repository alone.", _SETUP),
    "user": _Lazy("user", "Say who may sign in at the web, and as what.", _SETUP),
    "oidc": _Lazy("oidc", "Let people sign in at your identity provider.", _SETUP),
    "api-key": _Lazy("api_key", "Give scripts a key of their own to the API.", _SETUP),
    "audit": _Lazy("audit", "See who did what, and check the record.", _SETUP),
    "job": _Lazy("job", "Create jobs: which VMs, when, where to, how long kept.", _JOBS),
    "run": _Lazy("run", "See what jobs have done and are doing.", _JOBS),
    "serve": _Lazy("serve", "Serve the web interface and run jobs, on this machine.", _JOBS),
    "worker": _Lazy("worker", "Run jobs together with other machines.", _JOBS),
    "vm": _Lazy("vm", "List virtual machines and what of them can be backed up.", _WORK),
    "backup": _Lazy("backup", "Back up one virtual machine now.", _WORK),
    "restore-point": _Lazy("restore_point", "List, show, verify, pin and delete restore points.", _WORK),
    "restore": _Lazy("restore", "Restore a disk to a file, or a virtual machine to vSphere.", _WORK),
}


def _stub(name: str, lazy: _Lazy) -> TyperCommand:
    return TyperCommand(name, help=lazy.help, rich_help_panel=lazy.panel)


class _Root(TyperGroup):
    """The top-level group; its commands are modules of this package with an ``app``."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_params(self, ctx: Any) -> Any:
        without_types(self, ctx)
        return super().get_params(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        lazy = _COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        if self._listing:
            return _stub(cmd_name, lazy)
        command = typer.main.get_command(importlib.import_module(f"vbm.cli.{lazy.module}").app)
        command.name = cmd_name
        site.local_only(command, cmd_name)
        without_types(command, ctx)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.commands = {name: _stub(name, lazy) for name, lazy in _COMMANDS.items()}  # for "did you mean"
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False

    def invoke(self, ctx: Any) -> Any:
        """Run the command; its errors become one message and the exit code of their kind."""
        try:
            return super().invoke(ctx)
        except VbmError as error:
            failures.show(error)
            _leave(error.exit_code)
        except failures.PASS_THROUGH:
            raise
        except Exception as error:  # noqa: BLE001 - the last stop: people get a sentence, not a traceback
            failures.show_unexpected(error)
            _leave(1)


def _leave(code: int) -> Never:
    raise typer.Exit(code)


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="New here? `vbm demo` shows the main job in two minutes and needs nothing.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vbm {vbm.__version__}")
        raise typer.Exit


@app.callback()
def root(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            help="Say more on standard error; twice for everything.",
        ),
    ] = 0,
    server: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="VBM_SERVER",
            show_envvar=False,
            show_default=False,
            help="Work at this server by its API, with the key in VBM_API_KEY; VBM_SERVER says the same.",
        ),
    ] = "",
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """vSphere Backup Manager: back up, verify and restore virtual machines.

    Data lives below `VBM_HOME`. Exit codes: 0 done, 1 failed, 2 wrong input, 3 not found,
    4 not allowed, 5 data damaged, 130 cancelled.
    """
    logs.configure(verbose)
    site.work_at(server)


def run() -> None:
    """The entry point of the installed command."""
    keep_buffers()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name="vbm")
