"""Words that the pages of VMs, storage and administration add: states, and what was done."""

from __future__ import annotations

from typing import Final

from jinja2 import Environment

from vbm.web.pages.marks import STATES, capital

NOTICES: Final = {
    "backup-asked": "The backup has been asked for; its run appears below within seconds.",
    "pinned": "Pinned: retention keeps it until it is unpinned.",
    "unpinned": "Unpinned: retention decides again.",
    "point-deleted": "The restore point is deleted; its space comes back with the next garbage collection.",
    "repository-added": "The repository is known now.",
    "repository-forgotten": "The repository is forgotten; its data stays where it is.",
    "vcenter-added": "Logged in; the vCenter is known now.",
    "vcenter-changed": "Logged in with the change; it is kept.",
    "vcenter-removed": "The vCenter and its password are forgotten; restore points stay.",
    "channel-added": "The channel is known now. Send a test message to be sure that it arrives.",
    "channel-removed": "The channel is removed.",
    "message-sent": "The test message was sent. Has it arrived?",
    "user-created": "The user may sign in now.",
    "user-changed": "Changed; it holds from the next click on.",
    "user-disabled": "Disabled and signed out everywhere.",
    "user-enabled": "Enabled: the user may sign in again.",
    "user-deleted": "The user is deleted, with its sessions and keys.",
    "password-set": "The password is set; the user is signed out everywhere.",
    "password-changed": "The password is changed; other sessions are signed out.",
    "second-factor-off": "The second factor is off: the password alone is enough.",
    "sessions-ended": "Signed out there.",
    "key-revoked": "The key is revoked: it opens nothing from now on.",
    "settings-saved": "Saved. Workers take it up within a minute.",
}
_STATES: Final = {
    "protected": ("shield-check", "green", "Protected"),
    "unprotected": ("shield-off", "red", "Not protected"),
    "failing": ("circle-x", "red", "Last backup failed"),
    "working": ("circle-check", "green", "At work"),
    "stopping": ("player-stop", "yellow", "Stopping"),
    "gone": ("circle-x", "secondary", "Gone"),
    "sent": ("circle-check", "green", "Sent"),
    "pending": ("clock", "blue", "Waiting"),
    "held": ("player-stop", "secondary", "Held back"),
    "answers": ("circle-check", "green", "Answers"),
    "silent": ("circle-x", "red", "Does not answer"),
    "done": ("circle-check", "green", "Done"),
    "refused": ("circle-x", "red", "Refused"),
    "encrypted": ("key", "green", "Encrypted"),
    "plain": ("alert-triangle", "yellow", "Not encrypted"),
    "well": ("circle-check", "green", "Well"),
    "ill": ("circle-x", "red", "Not well"),
    "disabled": ("player-stop", "secondary", "Disabled"),
    "enabled": ("circle-check", "green", "May sign in"),
}


KIND_WORDS: Final = {
    "backup": "backup",
    "restore": "restore",
    "verify": "verification",
    "check": "check of a repository",
    "gc": "garbage collection",
}


def sentence(text: str) -> str:
    """With a capital and a full stop: errors are written as parts of one."""
    end = "" if text.endswith((".", "!", "?")) else "."
    return f"{capital(text)}{end}" if text else ""


def extend(environment: Environment) -> None:
    """Give the templates these words."""
    STATES.update(_STATES)
    environment.globals |= {"NOTICES": NOTICES, "KIND_WORDS": KIND_WORDS}
    environment.filters["sentence"] = sentence
