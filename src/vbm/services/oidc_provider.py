"""Speaks with an OpenID Connect provider, and believes only what its key has signed for us, now, for this browser.

Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636 (PKCE), RFC 8725 (best practices of JWT).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from vbm.clock import Clock
from vbm.errors import NotAllowedError, TransientError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_TIMEOUT_SECONDS: Final = 10.0
_LARGEST_BYTES: Final = 1024 * 1024
_LEEWAY_SECONDS: Final = 60  # between two clocks


class ProviderError(TransientError):
    """The identity provider does not answer, or not as it should."""

    code = "identity-provider"
    permanent: ClassVar[bool] = False


class TokenRefusedError(NotAllowedError):
    """What the identity provider's answer claims can't be believed."""

    code = "identity-refused"


@dataclass(frozen=True, slots=True)
class Client:
    """What this installation is to the provider. ``verify``: a file of authorities, or True for the system's."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    redirect: str
    scope: str
    verify: str | bool = True


@dataclass(frozen=True, slots=True)
class Proof:
    """What this browser's sign-in was begun with."""

    state: str
    nonce: str
    verifier: str = field(repr=False)


class Provider:
    """One provider, asked anew at each sign-in: keys and addresses may change."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._about: dict[str, Any] = {}

    def discover(self) -> dict[str, Any]:
        """Its discovery document. Raises ProviderError."""
        if not self._about:
            about = self._json(self._client.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if about.get("issuer") != self._client.issuer:
                raise ProviderError(
                    f"the identity provider calls itself {about.get('issuer')!r}, not {self._client.issuer!r}",
                    hint="write the issuer exactly as the provider does",
                )
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                self._check_address(name, about.get(name))
            self._about = about
        return self._about

    def way_there(self, proof: Proof) -> str:
        """Where the browser is sent."""
        with self._session(proof) as session:
            url, _ = session.create_authorization_url(
                self.discover()["authorization_endpoint"],
                state=proof.state,
                nonce=proof.nonce,
                code_verifier=proof.verifier,
            )
        return str(url)

    def claims(self, code: str, proof: Proof) -> dict[str, Any]:
        """Whom it means by the code. Raises ProviderError, TokenRefusedError."""
        token = self._redeem(code, proof)
        try:
            keys = KeySet.import_key_set(self._json(self.discover()["jwks_uri"]))  # type: ignore[arg-type]
            decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
            self._rules(proof).validate(decoded.claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise TokenRefusedError(
                f"the identity provider's answer can't be believed: {type(error).__name__}",
                hint="sign in again; if it stays, check the clocks and the client's settings on both sides",
            ) from error
        claims = dict(decoded.claims)
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._client.client_id:
            raise TokenRefusedError("the identity provider's answer is meant for somebody else")
        return claims

    def _rules(self, proof: Proof) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self._client.issuer},
            aud={"essential": True, "value": self._client.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": proof.nonce},
        )

    def _redeem(self, code: str, proof: Proof) -> str:
        endpoint = self.discover()["token_endpoint"]
        try:
            with self._session(proof) as session:
                answer = session.fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=proof.verifier,
                    timeout=_TIMEOUT_SECONDS,
                    verify=self._client.verify,
                    allow_redirects=False,
                )
        except (AuthlibBaseError, requests.RequestException, ValueError, KeyError) as error:
            raise ProviderError(
                f"the identity provider does not redeem its code: {type(error).__name__}",
                hint="sign in again; if it stays, check the client's id and secret",
            ) from error
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > _LARGEST_BYTES:
            raise ProviderError("the identity provider gave no identity token", hint="allow the scope openid")
        return token

    def _session(self, proof: Proof) -> OAuth2Session:
        session = OAuth2Session(
            self._client.client_id,
            self._client.secret,
            redirect_uri=self._client.redirect,
            scope=self._client.scope,
            state=proof.state,
            code_challenge_method="S256",
        )
        session.trust_env = False
        return session

    def _json(self, url: str) -> dict[str, Any]:
        try:
            with requests.Session() as session:
                session.trust_env = False
                with session.get(
                    url,
                    timeout=_TIMEOUT_SECONDS,
                    verify=self._client.verify,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    answer.raise_for_status()
                    content = answer.raw.read(_LARGEST_BYTES + 1, decode_content=True)
            if len(content) > _LARGEST_BYTES:
                raise ProviderError("the identity provider's answer is larger than 1 MiB")
            document = json.loads(content)
        except (requests.RequestException, OSError, ValueError, RecursionError) as error:
            raise ProviderError(
                f"the identity provider at {urlsplit(url).netloc} does not answer as it should: "
                f"{type(error).__name__}",
                hint="try: vbm oidc test",
            ) from error
        if not isinstance(document, dict):
            raise ProviderError("the identity provider's answer is no document")
        return document

    def _check_address(self, name: str, given: object) -> None:
        """Over TLS, unless the issuer itself is not."""
        parts = urlsplit(given if isinstance(given, str) else "")
        wanted = {"https", urlsplit(self._client.issuer).scheme}
        if parts.scheme not in wanted or not parts.netloc:
            raise ProviderError(f"the identity provider's {name} is no address over TLS")
