"""Nobody makes the server call itself, its neighbours on the link, or a file, whatever way the address is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures_api import ApiSite
from vbm.notifications.webhook import may_be_called
from vbm.web.options import WebOptions
from vbm.web.rate_limits import Limits

INWARD = (
    "127.0.0.1",
    "127.8.9.10",
    "127.1",
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST",
    "169.254.169.254",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1]",
    "[0:0:0:0:0:0:0:1]",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    options = WebOptions(limits=Limits(per_minute=0, refused_per_minute=0))
    made = ApiSite(tmp_path_factory.mktemp("outward"), options)
    yield made
    made.close()


@pytest.mark.parametrize("host", INWARD)
def test_no_vcenter_on_this_machine_is_asked(site: ApiSite, host: str) -> None:
    asked = site.ask("POST", "/vcenters/thumbprint", {"host": host})
    assert (asked.status_code, asked.json()["code"]) == (403, "address-refused")
    given = {"name": "x", "host": host, "username": "u", "password": "hunter2", "thumbprint": "00" * 32}
    added = site.ask("POST", "/vcenters", given)
    assert (added.status_code, added.json()["code"]) == (403, "address-refused")
    assert "hunter2" not in added.text
    assert {one["name"] for one in site.ask("GET", "/vcenters").json()["items"]} == {"ours", "theirs"}


@pytest.mark.parametrize("host", INWARD)
@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("webhook", "https://{}/hook"),
        ("webhook", "https://{}:8443/hook"),
        ("apprise", "json://{}/x"),
        ("apprise", "mailto://user:pw@{}"),
        ("apprise", "mailto://user:pw@example.org?smtp={}"),
    ],
)
def test_no_channel_leads_to_this_machine(site: ApiSite, host: str, kind: str, url: str) -> None:
    added = site.ask(
        "POST", "/notification-channels", {"name": "x", "kind": kind, "url": url.format(host), "secret": "s"}
    )
    assert added.status_code in {400, 403}, (url, host, added.text)
    assert site.ask("GET", "/notification-channels").json()["items"] == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "http://example.org/plain", "https://u:p@example.org/", "https://", "gopher://x/"],
)
def test_a_webhook_speaks_https_and_nothing_else(site: ApiSite, url: str) -> None:
    added = site.ask(
        "POST", "/notification-channels", {"name": "x", "kind": "webhook", "url": url, "secret": "s"}
    )
    assert added.status_code in {400, 422}, added.text


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "93.184.216.34", "2001:db8::1"])
def test_other_machines_may_be_called(address: str) -> None:
    """A vCenter is in a private network as a rule."""
    assert may_be_called(address)
