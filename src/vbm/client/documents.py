"""What the server answers, as far as callers of the client rely on it. The reference of the API names every field."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Failure(TypedDict):
    code: str
    message: str
    hint: str


class Job(TypedDict):
    id: str
    name: str
    enabled: bool
    vcenter_id: str
    repository_id: str
    selection: dict[str, Any]
    schedule: dict[str, Any]
    retention: dict[str, Any]
    mode: str
    limits: dict[str, int]
    retries: dict[str, int]
    snapshot_timeout_seconds: int
    next_run: str | None
    last_started: str | None
    last_success: str | None
    last_state: str | None
    upcoming: NotRequired[list[str]]


class Run(TypedDict):
    id: str
    kind: str
    job_id: str | None
    job: str | None
    vm: str
    vm_instance_uuid: str
    state: str
    phase: str | None
    bytes_total: int
    bytes_done: int
    disks: list[dict[str, Any]]
    rate: int | None
    eta_seconds: int | None
    created: str
    started: str | None
    finished: str | None
    error: Failure | None
    restore_point_id: str | None
    attempts: int
    snapshot_state: str
    warnings: list[str]
    result: dict[str, Any] | None


class Execution(TypedDict):
    execution_id: str
    job_id: str
    state: str
    error: str | None
    runs: list[Run]


class LogLine(TypedDict):
    number: int
    time: str
    level: str
    message: str


class Vm(TypedDict):
    name: str
    instance_uuid: str
    moref: str
    vcenter: str
    datacenter: str
    folder: str
    host: str
    power_state: str
    template: bool
    cbt_enabled: bool
    skip_reason: str
    protected: bool
    last_backup: str | None
    restore_points: int
    disks: list[dict[str, Any]]


class Point(TypedDict):
    id: str
    repository_id: str
    repository: str | None
    vm_name: str
    vm_instance_uuid: str
    vcenter: str
    started: str
    finished: str
    read_mode: str
    consistency: str
    size_bytes: int
    new_bytes: int
    verified: dict[str, Any] | None
    pinned: bool
