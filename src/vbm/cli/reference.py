"""Writes the reference pages of the command line, the error codes and the metrics from the code itself.

``python -m vbm.cli.reference DIR`` writes them; with ``--check`` it says which are out of date, exit 1.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

import vbm
from vbm.catalog.totals import LIMITS
from vbm.cli.main import app
from vbm.errors import VbmError
from vbm.services.metric_names import METRICS

_HEAD: Final = "<!-- Written by `make docs` from the code; edits are lost. -->\n"
_PLAIN: Final = frozenset({"help", "install_completion", "show_completion"})


def pages() -> dict[str, str]:
    """Every generated page: file name → text."""
    return {"cli.md": _cli_page(), "errors.md": _errors_page(), "metrics.md": _metrics_page()}


def main(arguments: list[str]) -> int:
    """Write the pages into a folder, or compare them with what is there."""
    check = "--check" in arguments
    folders = [a for a in arguments if not a.startswith("-")]
    if len(folders) != 1:
        sys.stderr.write("usage: python -m vbm.cli.reference [--check] DIR\n")
        return 2
    folder = Path(folders[0])
    if check:
        stale = [name for name, text in pages().items() if _content(folder / name) != text]
        sys.stderr.writelines(f"{folder / name} is out of date: run make docs\n" for name in stale)
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


def _content(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _cli_page() -> str:
    root = typer.main.get_command(app)
    intro = (
        "# Command line\n\n"
        "Every command that lists takes `--json`: one JSON document on standard output, nothing else there; "
        "logs and progress go to standard error. Sizes are written like `64KiB`, `1MiB`, `4GiB`. "
        "Secrets come from an environment variable that an option names, a file, or a prompt.\n\n"
        "Exit codes: 0 done, 1 failed, 2 wrong input, 3 not found, 4 not allowed, 5 data damaged, "
        "130 cancelled.\n"
    )
    sections = [_command_section(path, context) for path, context in commands(root)]
    return f"{_HEAD}\n{intro}\n" + "\n".join(sections)


def commands(root: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, as (``vbm vcenter add``, its context)."""
    yield from _below(root.context_class(root, info_name="vbm"), "vbm")


def _below(context: Any, path: str) -> Iterator[tuple[str, Any]]:
    group = context.command
    if not hasattr(group, "list_commands"):
        yield path, context
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            child = command.context_class(command, info_name=name, parent=context)
            yield from _below(child, f"{path} {name}")


def _command_section(path: str, context: Any) -> str:
    command = context.command
    lines = [f"## `{path}`", "", (command.help or "").strip(), ""]
    usage = " ".join(command.collect_usage_pieces(context))
    lines += ["```", f"{path} {usage}", "```", ""]
    rows = [_parameter_row(p, context) for p in command.params if p.name not in _PLAIN]
    if rows:
        lines += ["| Parameter | Meaning |", "|---|---|", *rows, ""]
    if command.epilog:
        lines += [command.epilog.replace("\n\n", "  \n"), ""]
    return "\n".join(lines)


def _parameter_row(parameter: Any, context: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_in_table(parameter.metavar or parameter.name.upper())}`"
        choices = parameter.display_type_rich(ctx=context)
        name += f" {_either(choices)}" if choices else ""
    else:
        names = ", ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts))
        metavar = (
            ""
            if getattr(parameter, "is_flag", False)
            else f" {_either(parameter.metavar or str(parameter.name).upper())}"
        )
        name = f"{names}{metavar}"
    text = _in_table(getattr(parameter, "help", "") or "").replace("\n", " ")
    required = " Required." if parameter.required else ""
    default = parameter.default
    shown = (
        f" Default: `{default}`."
        if isinstance(default, (str, int)) and not isinstance(default, bool) and default != ""
        else ""
    )
    return f"| {name} | {text}{required}{shown} |"


def _either(metavar: str) -> str:
    """What stands for a value; where it is one of several words, each of them."""
    words = metavar.split("|")
    if len(words) == 1:
        return metavar
    return " or ".join(word if word.isupper() else f"`{word}`" for word in words)


def _in_table(text: str) -> str:
    return text.replace("|", r"\|")


def _errors_page() -> str:
    for module in pkgutil.walk_packages(vbm.__path__, "vbm."):
        if module.name != "vbm.__main__" and ".migrations." not in module.name:
            importlib.import_module(module.name)
    classes = sorted(set(_subclasses(VbmError)), key=lambda c: c.code)
    rows = [
        f"| `{c.code}` | {c.kind.value} | {_first_line(c)} | {'no' if c.permanent else 'yes'} |"
        for c in classes
    ]
    return (
        f"{_HEAD}\n# Errors\n\nThe code stands in brackets after the message, in `--json` documents and in "
        "the API's problems; it stays the same from version to version.\n\n"
        "| Code | Exit code | Meaning | May pass by itself |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _metrics_page() -> str:
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels) or '–'} "
        f"| {metric.help} | {metric.series} |"
        for metric in METRICS
    ]
    ends = ", ".join(f"`{limit}`" for limit in LIMITS)
    return (
        f"{_HEAD}\n# Metrics\n\nWhat `GET /metrics` tells in Prometheus's text format; who may read it and what to "
        "do with it: [monitoring](../how-to/monitoring.md). Names and labels stay the same from version to version. "
        "`vm`, `job`, `vcenter`, `repository` and `worker` are names as they are now, `reason` is an "
        "[error code](errors.md).\n\n"
        f"Histograms end their buckets at {ends} seconds and `+Inf`.\n\n"
        "| Metric | Kind | Labels | Meaning | Series |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _subclasses(of: type[VbmError]) -> Iterator[type[VbmError]]:
    for child in of.__subclasses__():
        if "code" in vars(child) and child.__module__.startswith("vbm."):
            yield child
        yield from _subclasses(child)


def _first_line(kind: type[VbmError]) -> str:
    documented = vars(kind).get("__doc__") or ""
    return documented.strip().split("\n\n")[0].replace("\n", " ").replace("|", r"\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
