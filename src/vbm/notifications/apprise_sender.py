"""Mail, Slack, Teams and whatever else Apprise speaks."""

from __future__ import annotations

import logging

import apprise

from vbm.errors import InputError
from vbm.notifications.delivery import DeliveryFailedError
from vbm.notifications.events import Event, EventKind
from vbm.notifications.render import render

# Apprise logs addresses with their passwords at debug level: what it says never reaches our handlers.
logging.getLogger("apprise").propagate = False

_TYPES = {
    EventKind.SUCCESS: apprise.NotifyType.SUCCESS,
    EventKind.SNAPSHOT_GONE: apprise.NotifyType.SUCCESS,
    EventKind.DIGEST: apprise.NotifyType.INFO,
    EventKind.TEST: apprise.NotifyType.INFO,
    EventKind.FAILURE: apprise.NotifyType.FAILURE,
}


class AppriseSender:
    """One Apprise address. HTML goes to services that take it (mail, with a plain part beside), text elsewhere."""

    def __init__(self, url: str) -> None:
        plugin = apprise.Apprise.instantiate(url)
        if plugin is None:
            scheme = url.partition("://")[0][:20]
            raise InputError(
                f"not an address that can be spoken to: {scheme}://…",
                hint="use an Apprise URL such as mailtos://user:password@host?to=… or slack://…",
            )
        plugin.request_rate_per_sec = 0  # our own throttle decides; this one would sleep in a run
        self._plugin = plugin

    def _prefers_html(self) -> bool:
        """Whether the service names HTML first among the formats it takes."""
        formats: object = self._plugin.notify_format
        return bool((formats[0] if isinstance(formats, tuple) else formats) == apprise.NotifyFormat.HTML)

    def send(self, event: Event) -> None:
        """Deliver once. Raises DeliveryFailedError: Apprise does not tell passing from lasting failures."""
        words = render(event)
        html = self._prefers_html()
        delivered = self._plugin.notify(
            title=words.subject,
            body=words.html if html else words.text,
            body_format=apprise.NotifyFormat.HTML if html else apprise.NotifyFormat.TEXT,
            notify_type=_TYPES.get(event.kind, apprise.NotifyType.WARNING),
        )
        if not delivered:
            raise DeliveryFailedError(
                f"not delivered by {self._plugin.service_name}",
                hint="check the address, the password and that the server is reachable from here",
            )
