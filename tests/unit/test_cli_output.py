"""What goes to the screen: sizes of tables, names that try to steer the terminal, progress, secrets."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vbm.cli import output, secrets
from vbm.cli.progress import Bars, Lines
from vbm.clock import VirtualClock
from vbm.errors import InputError
from vbm.ids import DiskKey
from vbm.services.addresses import parse_address


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What ``show`` prints on a terminal of a given width, as lines."""

    def at(width: int, show) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        show()
        return capsys.readouterr().out.splitlines()

    return at


HOSTILE = ["[red]x[/red]", "[/]", "a\x1b[31mb", "tab\there", "new\nline", "100%", "日本語の名前", ":smile:"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are_and_steer_nothing(screen, name: str) -> None:
    lines = screen(140, lambda: output.table((output.Column("Name"),), [(name,)]))
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert output.clean(name) in text
    assert "\n" not in output.clean(name)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_table_keeps_to_its_width_and_loses_no_character(screen, width: int) -> None:
    name = "x" * 60
    lines = screen(
        width,
        lambda: output.table((output.Column("Name"), output.Column("Size", right=True)), [(name, "1 GiB")]),
    )
    assert all(len(line) <= width for line in lines)
    assert "".join(lines).count("x") == 60
    assert "…" not in "".join(lines)


def test_a_column_for_wide_terminals_is_left_out_on_narrow_ones(screen) -> None:
    columns = (output.Column("A"), output.Column("B", from_width=100))
    assert "B" not in "".join(screen(80, lambda: output.table(columns, [("1", "2")])))
    assert "B" in "".join(screen(100, lambda: output.table(columns, [("1", "2")])))


def test_a_document_is_one_json_value_whatever_the_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "ascii", "latin-1"):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        output.document({"name": "日本 ünï \x1b"})
        sys.stdout.flush()
        assert json.loads(raw.getvalue().decode(encoding)) == {"name": "日本 ünï \x1b"}


def test_times_are_local_or_say_that_they_are_utc() -> None:
    moment = datetime(2026, 11, 23, 6, 48, 37, tzinfo=UTC)
    assert output.when(moment, utc=True) == "2026-11-23 06:48:37Z"
    assert output.when(moment, utc=False) == moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def test_how_long_ago_is_told_roughly() -> None:
    clock = VirtualClock()
    assert output.ago(clock.now() - timedelta(hours=3, minutes=7), clock) == "3 h 07 min ago"
    assert output.ago(clock.now(), clock) == "just now"


def test_progress_lines_tell_amount_share_rate_and_time_left() -> None:
    clock = VirtualClock()
    lines = Lines(clock=clock)
    lines.disk(DiskKey(2000), "Hard disk 1", 1 << 30)
    lines.disk(DiskKey(2001), "Hard disk 2", 1 << 30)
    clock.advance(4)
    lines.advance(DiskKey(2000), 1 << 29)
    assert lines.line() == "  512 MiB of 2 GiB (25 %) at 128 MiB/s, 12 s left"
    assert lines.line() == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vc.example.com", ("vc.example.com", 443)),
        (" vc.example.com:8443 ", ("vc.example.com", 8443)),
        ("10.0.0.1", ("10.0.0.1", 443)),
        ("[::1]:8989", ("::1", 8989)),
        ("[fe80::1%eth0]", ("fe80::1%eth0", 443)),
        ("2001:db8::5", ("2001:db8::5", 443)),
    ],
)
def test_addresses_as_people_write_them(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "https://vc", "vc/sdk", "a b", "vc:0", "vc:65536", "vc:x", "[::1", "[::1]x", "-vc", "vc;ls", "vc:٣"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_address(text)


def test_a_secret_of_an_unset_variable_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(InputError, match="NOT_THERE is not set"):
        secrets.from_variable("NOT_THERE")


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 70000, b"\xff\xfe"])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(InputError):
        secrets.text_from_file(tmp_path / "secret")


def test_a_secret_file_may_end_as_editors_end_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b" pass word \r\n")
    assert secrets.text_from_file(tmp_path / "secret") == " pass word "


def test_a_missing_secret_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        secrets.from_file(tmp_path / "nothing")


def test_a_bar_of_nothing_to_read_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.disk(DiskKey(2000), "Hard disk 1", 0)
        bars.advance(DiskKey(2000), 0)  # a step that zeroes what was trimmed
    shown = capsys.readouterr().err
    assert "100 %" in shown
    assert "nothing to read" in shown
