"""What is done by hand to a repository's contents, written into the audit trail where the catalog knows it.

A repository named by its address needs no database, so what is done there is in no trail. The repository is changed
first: a trail that can't be written must not keep anybody from a repository.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vbm.errors import VbmError
from vbm.later import later
from vbm.services.access import Where
from vbm.services.workspace import Workspace

if TYPE_CHECKING:
    from vbm.services import trail
else:
    trail = later("vbm.services.trail")

_log = logging.getLogger(__name__)


def record(
    workspace: Workspace,
    where: Where,
    action: str,
    targets: Sequence[str],
    detail: dict[str, Any] | None = None,
) -> None:
    """One entry for each target. A catalog that does not answer is only logged."""
    if where.url is not None:
        return
    try:
        with workspace.catalog.writing() as session:
            for target in targets:
                trail.note(workspace, session, action, target, detail)
    except VbmError as error:
        _log.warning("%s of %s is not in the audit trail: %s", action, ", ".join(targets), error.message)
