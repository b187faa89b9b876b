"""The OpenAPI document: examples that fit, problems documented, names that stay; and the page that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from fixtures_api import ApiSite
from fixtures_pages import wrong_in
from vbm.security.roles import Role
from vbm.services import accounts, sign_in
from vbm.services.accounts import NewUser
from vbm.web import reference
from vbm.web.api.examples import ANSWERS, REQUESTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    made = ApiSite(tmp_path_factory.mktemp("openapi"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def document(site: ApiSite) -> dict[str, Any]:
    found: dict[str, Any] = site.ask("GET", "/openapi.json", role="").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for({**schema, "components": document["components"]})


def test_each_example_fits_its_schema_and_none_is_missing(document: dict[str, Any]) -> None:
    used: set[str] = set()
    for method, path, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is not None:
            assert "example" in body, (method, path)
            validator(document, body["schema"]).validate(body["example"])
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if content is not None and status.startswith("2") and "manifest" not in path:
                assert "example" in content, (method, path)
                validator(document, content["schema"]).validate(content["example"])
        used.add(operation["operationId"])
    assert set(REQUESTS) <= used
    assert set(ANSWERS) <= used


def test_names_of_operations_are_short_and_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(name.replace("_", "").isalpha() and name.islower() for name in names)


def test_problems_of_each_status_are_documented_as_problems(document: dict[str, Any]) -> None:
    for name, answer in document["components"]["responses"].items():
        content = answer["content"]["application/problem+json"]
        validator(document, content["schema"]).validate(content["example"])
        assert content["example"]["status"] == int(name.removeprefix("Problem"))
    for method, path, operation in operations(document):
        if path.startswith("/api/"):
            assert {"401", "403", "429", "500"} <= set(operation["responses"]), (method, path)
            assert operation["security"]
        if method == "PATCH":
            assert {"412", "428"} <= set(operation["responses"])
    assert "HTTPValidationError" not in str(document)


def test_the_reference_page_is_up_to_date() -> None:
    """Names of operations are a contract: one that changes changes this page."""
    assert (ROOT / "docs/reference/api.md").read_text() == reference.page(), "run make docs"


def test_the_page_shows_every_operation_under_the_strict_policy(
    site: ApiSite, document: dict[str, Any]
) -> None:
    user = accounts.create(site.space, NewUser("vera", Role.VIEWER, "correct horse battery 7"))
    cookie = sign_in.begin(site.space, user, "127.0.0.1", "tests").cookie
    headers = {"cookie": f"vbm_session={cookie}", "accept": "text/html"}
    answer = site.client.get("/api/docs", headers=headers)
    assert answer.status_code == 200
    assert wrong_in(answer.text) == []
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for method, path, operation in operations(document):
        assert f'id="{operation["operationId"]}"' in answer.text
        assert f"{method} {path}" in answer.text
    nobody = site.client.get("/api/docs", headers={"accept": "text/html"}, follow_redirects=False)
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/sign-in?next=%2Fapi%2Fdocs")
