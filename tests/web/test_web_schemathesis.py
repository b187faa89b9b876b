"""Requests made up from the OpenAPI document, as each role: nothing breaks, and all that is answered is documented."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fixtures_api_lab import ApiLab
from vbm.security.roles import Role
from vbm.web.api.examples import REQUESTS

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ROLES = ["", Role.VIEWER, Role.OPERATOR, Role.ADMIN]
ALLOWED = {"": 2, Role.VIEWER: 20, Role.OPERATOR: 29, Role.ADMIN: 59}  # operations that must have worked


@dataclass
class Asker:
    """``operations``: what takes things away comes last."""

    lab: ApiLab
    operations: list[Any]
    answered: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def ask(self, role: str, operation: Any, examples: int) -> None:
        made = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @seed(4711)
        @settings(
            max_examples=examples,
            phases=(Phase.generate,),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(*made), real=st.integers(0, 3))
        def check(case: Any, real: int) -> None:
            self._one(role, case, real)

        check()
        self._one(role, operation.Case(), 3)

    def _one(self, role: str, case: Any, real: int) -> None:
        """``real``: 0 nothing but what was made up, 1 and 2 with real names in the path, 3 a whole real request."""
        name = case.operation.definition.raw["operationId"]
        parameters = [part for part in case.operation.path.split("/") if part.startswith("{")]
        given = dict(case.path_parameters or {})
        for parameter in parameters:
            if real or name == "run_events":  # a queued run is listened to until it ends
                given[parameter[1:-1]] = self.lab.known(parameter[1:-1], name)
        case.path_parameters = given
        headers = {"X-API-Key": self.lab.keys[role]} if role else {}
        if real == 3:
            case.query = {"month": "2026-11"} if name == "get_calendar" else {}
            case.headers = {"If-Match": "*"} if case.method.upper() == "PATCH" else {}
            if name in REQUESTS:
                case.body, case.media_type = self.lab.sensible(name, REQUESTS[name]), "application/json"
        case.body = self.lab.harmless(name, case.body)
        self.lab.endless(name == "events")
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS)
        self.answered[name].add(answer.status_code)


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    lab = ApiLab(tmp_path_factory.mktemp("api"))
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", lab.app)
    schema.config.generation.update(with_security_parameters=False)
    found = [result.ok() for result in schema.get_all_operations()]
    yield Asker(lab, sorted(found, key=lambda one: (one.method.upper() == "DELETE", one.path, one.method)))
    lab.close()


def campaign(asker: Asker, role: str, examples: int) -> None:
    asker.answered.clear()
    for operation in asker.operations:
        asker.ask(role, operation, examples)
    worked = {name for name, codes in asker.answered.items() if any(200 <= code < 300 for code in codes)}
    assert len(worked) >= ALLOWED[role], sorted(set(asker.answered) - worked)


@pytest.mark.parametrize("role", ROLES)
def test_what_is_made_up_is_answered_as_documented(asker: Asker, role: str) -> None:
    campaign(asker, role, 3 if role == Role.ADMIN else 1)


@pytest.mark.soak
@pytest.mark.parametrize("role", ROLES)
def test_much_more_of_it(asker: Asker, role: str) -> None:
    campaign(asker, role, 150)
