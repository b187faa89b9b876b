"""SessionManager: login, logout, who is there, tickets for single HTTP requests."""

from __future__ import annotations

from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.sessions import UserSession
from vbm.lab.soap import Call
from vbm.lab.vmodl import vim


def describe(session: UserSession) -> Any:
    """UserSession as the API shows it: without the secret."""
    return vim.UserSession(
        key=session.key,
        userName=session.user.name,
        fullName=session.user.name.partition("@")[0],
        loginTime=session.login_time,
        lastActiveTime=session.last_active,
        locale="en",
        messageLocale="en",
        extensionSession=False,
        ipAddress=session.address,
        userAgent="",
        callCount=0,
    )


class SessionManager(ManagedObject):
    type_name = "SessionManager"

    def __init__(self, context: Any, moid: str, session: UserSession | None) -> None:
        super().__init__(context, moid)
        self.session = session

    @prop("currentSession")
    def current_session(self) -> Any:
        return describe(self.session) if self.session else None

    @prop("sessionList")
    def session_list(self) -> Any:
        return [describe(session) for session in self.context.sessions.all()]

    @prop("supportedLocaleList")
    def locales(self) -> Any:
        return ["en"]

    @prop("messageLocaleList")
    def message_locales(self) -> Any:
        return ["en"]

    @prop("defaultLocale")
    def default_locale(self) -> str:
        return "en"

    @operation("Login")
    def login(self, call: Call) -> Any:
        if call.session is not None:
            raise refusal("InvalidRequest", "already logged in")
        user = self.context.users.check(call.args.userName, call.args.password)
        self.context.log("login", user=call.args.userName, success=user is not None)
        if user is None:
            raise refusal("InvalidLogin")
        call.session = self.context.sessions.login(user, "")
        return describe(call.session)

    @operation("Logout")
    def logout(self, call: Call) -> None:
        if call.session is None:
            raise refusal("NotAuthenticated", object=call.this, privilegeId="System.View")
        self.context.log("logout", user=call.session.user.name)
        self.context.sessions.logout(call.session)
        self.context.collectors.drop_session(call.session.key)

    @operation("SessionIsActive")
    def session_is_active(self, call: Call) -> bool:
        session = self.context.sessions.by_key(call.args.sessionID)
        return session is not None and session.user.name == call.args.userName

    @operation("TerminateSession")
    def terminate(self, call: Call) -> None:
        for key in call.args.sessionId:
            session = self.context.sessions.by_key(key)
            if session is None:
                raise refusal("NotFound", f"no session {key}")
            self.context.sessions.logout(session)

    @operation("AcquireGenericServiceTicket")
    def acquire_ticket(self, call: Call) -> Any:
        spec = call.args.spec
        url = getattr(spec, "url", None)
        if not url or call.session is None:
            raise refusal("InvalidArgument", "a ticket needs a URL", invalidProperty="spec.url")
        method = spec.method or "httpGet"
        ticket = self.context.sessions.issue_ticket(call.session.user, method, url)
        return vim.SessionManager.GenericServiceTicket(
            id=ticket,
            hostName="",
            sslThumbprint=self.context.sha1_thumbprint(),
            ticketType="httpServiceTicket",
        )
