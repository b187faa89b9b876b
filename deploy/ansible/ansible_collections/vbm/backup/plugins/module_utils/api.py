"""The REST API of vSphere Backup Manager, by what Ansible brings along."""

from __future__ import annotations

import json
import time
import uuid
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

from ansible.module_utils.basic import env_fallback
from ansible.module_utils.urls import ConnectionError as NoConnection
from ansible.module_utils.urls import SSLValidationError, open_url

ARGUMENTS = {
    "server": {"type": "str", "required": True, "fallback": (env_fallback, ["VBM_SERVER"])},
    "api_key": {
        "type": "str",
        "required": True,
        "no_log": True,
        "fallback": (env_fallback, ["VBM_API_KEY"]),
    },
    "ca_path": {"type": "path", "fallback": (env_fallback, ["VBM_SERVER_CA_FILE"])},
    "validate_certs": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 60},
}
_ATTEMPTS = 4


class ApiProblemError(Exception):
    """An answer that is none of success: ``status``, ``code`` and what the server says."""

    def __init__(self, status, document):
        self.status = status
        self.code = document.get("code", "")
        hint = document.get("hint")
        parts = [
            "{}: {}".format(part.get("where"), part.get("message")) for part in document.get("errors", [])
        ]
        said = "; ".join([document.get("title", "HTTP {}".format(status))] + parts)
        super().__init__("{} [{}]{}".format(said, self.code, " - " + hint if hint else ""))


class Api:
    """``module``: its parameters name the server, and it fails with what goes wrong on the way there."""

    def __init__(self, module):
        self._module = module
        self._base = module.params["server"].rstrip("/") + "/api/v1"

    def get(self, *path, **query):
        """(document, ETag). Raises ApiProblemError."""
        return self._send("GET", path, query)

    def find(self, *path):
        """(document, ETag), or (None, "") where there is no such thing."""
        try:
            return self.get(*path)
        except ApiProblemError as problem:
            if problem.status == 404:
                return None, ""
            raise

    def items(self, *path, **query):
        """Every item of a list, page after page."""
        while True:
            page, _ = self.get(*path, **dict(query, limit=500))
            for item in page["items"]:
                yield item
            if not page["next_cursor"]:
                return
            query["cursor"] = page["next_cursor"]

    def post(self, *path, **body):
        return self._send("POST", path, {}, body, {"Idempotency-Key": uuid.uuid4().hex})[0]

    def patch(self, etag, *path, **body):
        return self._send("PATCH", path, {}, body, {"If-Match": etag})[0]

    def delete(self, etag, *path):
        self._send("DELETE", path, {}, None, {"If-Match": etag})

    def _send(self, method, path, query, body=None, headers=None):
        url = "/".join([self._base] + [quote(part, safe="") for part in path])
        query = {name: value for name, value in query.items() if value not in (None, "")}
        if query:
            url += "?" + urlencode(query)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._once(method, url, body, headers or {})
            except ApiProblemError as problem:
                if problem.status not in (429, 503) or attempt == _ATTEMPTS:
                    raise
                time.sleep(2**attempt)
        return None, ""

    def _once(self, method, url, body, headers):
        params = self._module.params
        sent = dict(headers, Accept="application/json")
        sent["X-API-Key"] = params["api_key"]
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            answer = open_url(
                url,
                method=method,
                data=json.dumps(body) if body is not None else None,
                headers=sent,
                timeout=params["timeout"],
                validate_certs=params["validate_certs"],
                ca_path=params["ca_path"],
                http_agent="vbm-ansible",
                follow_redirects="none",
            )
            text = answer.read()
            return (json.loads(text) if text else None), answer.headers.get("ETag", "")
        except HTTPError as error:
            raise ApiProblemError(error.code, _document(error))
        except (NoConnection, SSLValidationError, OSError, ValueError) as error:
            self._module.fail_json(msg="{} does not answer as it should: {}".format(params["server"], error))


def _document(error):
    try:
        found = json.loads(error.read())
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}
