"""A home with something to show: a lab, backed up VMs, one that fails, one whose name is hostile, and three people."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from fastapi.testclient import TestClient

from fixtures_jobs import MIB, JobsRig
from vbm.lab.model import DiskSpec, MachineSpec, Nic
from vbm.security.roles import Role
from vbm.services import accounts, inventory_cache, jobs, sign_in
from vbm.services.accounts import NewUser
from vbm.web.app import create_app
from vbm.web.options import WebOptions

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
PASSWORD = "correct horse battery 7"
_MANY = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{8}T\d{9}-[0-9a-f]{10}|\d{4}-\d\d(-\d\d)?")


class _Strict(HTMLParser):
    """Collects what a strict page must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        own = all(
            not re.match(r"(?:[a-z+]+:)?//|javascript:", given.get(name, ""), re.IGNORECASE)
            for name in ("src", "href", "action", "formaction")
        )
        inline = any(name == "style" or name.startswith("on") for name in given)
        if inline or not own or tag in {"style", "base"} or (tag == "script" and "src" not in given):
            self.wrong.append(f"<{tag} {given}>")


def wrong_in(text: str) -> list[str]:
    """Tags with inline script or style, or that lead to other servers."""
    parser = _Strict()
    parser.feed(text)
    return parser.wrong


@dataclass(slots=True)
class Browser:
    """A signed-in client. ``csrf`` is what its forms carry."""

    client: TestClient
    csrf: str

    def page(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path, headers={"accept": "text/html"}, follow_redirects=False)
        assert answer.status_code == status, (
            path,
            answer.status_code,
            re.sub(r"<[^>]*>|\s+", " ", answer.text)[-600:],
        )
        return answer.text

    def send(self, path: str, /, **fields: str) -> str:
        """Post a form; where it sends the browser next, or the page that answers."""
        answer = self.client.post(
            path,
            data={"csrf": self.csrf, **fields},
            headers={"origin": "http://testserver", "accept": "text/html"},
            follow_redirects=False,
        )
        if answer.status_code in {302, 303}:
            return answer.headers["location"]
        return f"{answer.status_code} {answer.text}"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("href", "src", "hx-get"):
            link = given.get(name)
            if link and link.startswith("/"):
                self.found.append(link.partition("#")[0])


def walk(client: TestClient) -> tuple[set[str], list[tuple[str, int]]]:
    """Follows every link from the first page on: (one link to each kind of thing, those that led to no page)."""
    waiting, shapes, broken = ["/"], {"/"}, []
    while waiting:
        path = waiting.pop()
        answer = client.get(path, headers={"accept": "text/html"})
        if answer.status_code != 200:
            broken.append((path, answer.status_code))
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        links = _Links()
        links.feed(answer.text)
        for link in links.found:
            shape = _MANY.sub("*", link)
            if shape not in shapes:  # one of each kind of object
                shapes.add(shape)
                waiting.append(link)
    return shapes, broken


class PagesRig(JobsRig):
    """Its workers have stopped when it is made: nothing changes by itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("web01", "db01"):
            self.machine(name, MIB)
        self._awkward()
        inventory_cache.forget()
        self.job("nightly", selection={"vms": ["web*", "db*", "<*"]}, schedule={"cron": "0 3 * * *"})
        self.job("weekly", selection={"vms": ["half"]}, enabled=False)
        child = self.worker()
        jobs.run_now(self.workspace, "nightly")
        self.ended(3)
        self.stop(child)
        for name, role in (("anna", Role.ADMIN), ("otto", Role.OPERATOR), ("vera", Role.VIEWER)):
            accounts.create(self.workspace, NewUser(name, role, PASSWORD))
        self.app = create_app(self.workspace, WebOptions(allow_loopback=True))

    def _awkward(self) -> None:
        image = self.folder / "odd.img"
        image.write_bytes(random.Random("odd").randbytes(MIB))
        boot, data = DiskSpec(source=image), DiskSpec(MIB, mode="independent_persistent")
        self.lab.state.create_machine(MachineSpec(name="half", disks=(boot, data)))
        self.lab.state.create_machine(
            MachineSpec(name=HOSTILE, disks=(boot,), nics=(Nic(4000, "VM Network", ""),))
        )

    def browser(self, name: str) -> Browser:
        """Signed in as that user."""
        user = accounts.get(self.workspace, name)
        signed_in = sign_in.begin(self.workspace, user, "127.0.0.1", "tests")
        client = TestClient(self.app)
        client.cookies.set("vbm_session", signed_in.cookie)
        return Browser(client, signed_in.session.csrf)
