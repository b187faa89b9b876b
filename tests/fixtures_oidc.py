"""A small OpenID Connect provider on this machine, with a key of its own, that can be told to lie."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from vbm.clock import SystemClock

SECRET = "the client's own secret"


class OidcProvider:
    """``claims`` and ``sign`` may be replaced; each code is good once."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.shown = [self.key]
        self.claims: dict[str, Any] = {
            "sub": "u-1",
            "preferred_username": "anna",
            "groups": ["backup-admins", "all"],
        }
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.about_more: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.is_down = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self._server.server_port}/realm"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def signed(self, claims: dict[str, Any], key: Any = None, **header: Any) -> str:
        used = key or self.key
        head = {"alg": "RS256", "kid": used.as_dict()["kid"]}
        return jwt.encode(head | header, claims, used, algorithms=["RS256"])

    def approve(self, url: str) -> str:
        """What a person does there: the address that the browser is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"]})

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self.codes.pop(form.get("code", ""), None)
        told = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or challenge != asked["code_challenge"] or not told.startswith("vbm:"):
            return 400, {"error": "invalid_grant"}
        now = int(SystemClock().now().timestamp())
        claims = {"iss": self.issuer, "aud": "vbm", "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        token = self.sign(claims | self.claims)
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": token}

    def _about(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        } | self.about_more

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if provider.is_down:
                    self._answer(503, {})
                elif self.path == "/realm/.well-known/openid-configuration":
                    self._answer(200, provider._about())
                elif self.path == "/realm/keys":
                    self._answer(200, {"keys": [key.as_dict(private=False) for key in provider.shown]})
                else:
                    self._answer(404, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._answer(*provider.token(form, self.headers.get("Authorization", "")))

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        return Handler
