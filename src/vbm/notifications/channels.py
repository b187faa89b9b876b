"""A channel: an address and a way to speak to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from vbm.errors import InputError, VbmError
from vbm.notifications.apprise_sender import AppriseSender
from vbm.notifications.delivery import DeliveryFailedError
from vbm.notifications.events import Event
from vbm.notifications.webhook import WebhookSender


@dataclass(frozen=True, slots=True)
class Channel:
    """``kind`` "apprise": any Apprise URL (mailtos://, slack://, msteams://, …); "webhook": an https:// URL.

    ``secret`` signs a webhook's body. ``allow_loopback``: addresses on this machine are permitted (the command
    line may say so; the web may not).
    """

    name: str
    url: str = field(repr=False)
    kind: str = "apprise"
    secret: str = field(default="", repr=False)
    allow_loopback: bool = False


class Sender(Protocol):
    def send(self, event: Event) -> None:
        """Deliver, or raise: DeliveryFailedError may be tried again, DeliveryRefusedError may not."""


def open_sender(channel: Channel) -> Sender:
    """The sender of a channel. Raises InputError where the URL can't be one."""
    if channel.kind == "webhook":
        return WebhookSender(channel.url, channel.secret, allow_loopback=channel.allow_loopback)
    if channel.kind == "apprise":
        return AppriseSender(channel.url)
    raise InputError(f"channel {channel.name}: no such kind {channel.kind!r}", hint="use apprise or webhook")


def deliver(channel: Channel, event: Event) -> VbmError | None:
    """The error of one delivery, or None: a failing channel never fails what it tells about."""
    try:
        open_sender(channel).send(event)
    except VbmError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a plugin's fault must not reach the run
        return DeliveryFailedError(f"channel {channel.name}: {type(error).__name__}")
    return None
