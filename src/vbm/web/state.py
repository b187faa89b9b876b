"""What every request finds in the application: the workspace, the options, the throttle of sign-ins."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from vbm.services.condition import Check
from vbm.services.sign_in import Throttle
from vbm.services.workspace import Workspace
from vbm.web.certificate import Certificate
from vbm.web.feed import Feed
from vbm.web.metrics_text import Scrapes
from vbm.web.news import News
from vbm.web.options import WebOptions


@dataclass(frozen=True, slots=True)
class WebState:
    workspace: Workspace
    options: WebOptions
    certificate: Certificate | None = None
    throttle: Throttle = field(default_factory=Throttle)
    feed: Feed = field(default_factory=Feed)
    news: News = field(default_factory=News)
    scrapes: Scrapes = field(default_factory=Scrapes)
    stopping: threading.Event = field(default_factory=threading.Event)  # live streams end when it is set

    def checks(self) -> list[Check]:
        """What this server knows of itself."""
        return [self.certificate.check(self.workspace.clock.now())] if self.certificate else []


def state_of(request: Request) -> WebState:
    state: WebState = request.app.state.vbm
    return state


def workspace_of(request: Request) -> Workspace:
    return state_of(request).workspace


State = Annotated[WebState, Depends(state_of)]
Space = Annotated[Workspace, Depends(workspace_of)]
