"""What goes in and out of REST v1. Unknown fields are refused; values are checked once more by the job rules."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")
Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0, le=2**53)]
Secret = Annotated[str, Field(max_length=4096, json_schema_extra={"writeOnly": True, "format": "password"})]


class Given(BaseModel):
    """A body that somebody sends."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[Item]):
    """One page of a list; ``next_cursor`` asks for the next one."""

    items: list[Item]
    next_cursor: str | None = None


class Rules(Given):
    vms: list[Text] = []
    folders: list[Text] = []
    tags: list[Text] = []
    resource_pools: list[Text] = []
    attributes: list[Text] = []


class SelectionGiven(Rules):
    exclude: Rules | list[Text] | None = None


class ScheduleGiven(Given):
    cron: Annotated[str, Field(max_length=200)] | None = Field(None, examples=["0 3 * * *"])
    timezone: Annotated[str, Field(max_length=100)] = Field("UTC", examples=["Europe/Paris"])
    window: Annotated[str, Field(max_length=100)] | None = Field(None, examples=["22:00-06:00"])
    window_end: Literal["end", "pause"] = "end"
    misfire_grace_seconds: Count = 3600


class GfsGiven(Given):
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0


class RetentionGiven(Given):
    keep_last: Count = 0
    keep_days: Count = 0
    gfs: GfsGiven = GfsGiven()


class LimitsGiven(Given):
    parallel_vms: Count = 0
    bytes_per_second: Count = 0


class RetriesGiven(Given):
    attempts: Annotated[int, Field(ge=1, le=1000)] = 3
    wait_seconds: Count = 300


class NoticeGiven(Given):
    channel_id: Name
    on: list[Text] = []


class JobGiven(Given):
    """A new job. ``vcenter_id`` and ``repository_id`` are ids or names."""

    name: Name
    vcenter_id: Name
    repository_id: Name
    selection: SelectionGiven
    enabled: bool = True
    schedule: ScheduleGiven = ScheduleGiven()
    retention: RetentionGiven = RetentionGiven()
    mode: Literal["auto", "full"] = "auto"
    active_full_every: Count = 0
    quiesce: bool = False
    excluded_disks: list[int] = []
    limits: LimitsGiven = LimitsGiven()
    retries: RetriesGiven = RetriesGiven()
    deadline_seconds: Count = 0
    priority: Count = 100
    notifications: list[NoticeGiven] = []
    verify: Literal["none", "quick", "full"] = "none"
    snapshot_timeout_seconds: Annotated[int, Field(ge=1, le=2**31)] = 14400


class JobChange(Given):
    """What is to change; what is left out stays."""

    name: Name | None = None
    vcenter_id: Name | None = None
    repository_id: Name | None = None
    selection: SelectionGiven | None = None
    enabled: bool | None = None
    schedule: ScheduleGiven | None = None
    retention: RetentionGiven | None = None
    mode: Literal["auto", "full"] | None = None
    active_full_every: Count | None = None
    quiesce: bool | None = None
    excluded_disks: list[int] | None = None
    limits: LimitsGiven | None = None
    retries: RetriesGiven | None = None
    deadline_seconds: Count | None = None
    priority: Count | None = None
    notifications: list[NoticeGiven] | None = None
    verify: Literal["none", "quick", "full"] | None = None
    snapshot_timeout_seconds: Annotated[int, Field(ge=1, le=2**31)] | None = None


class JobShown(BaseModel):
    """A job: the document it was given, and how it stands."""

    id: str
    name: str
    enabled: bool
    vcenter_id: str
    repository_id: str
    selection: dict[str, Any]
    schedule: dict[str, Any]
    retention: dict[str, Any]
    mode: Literal["auto", "full"]
    active_full_every: int
    quiesce: bool
    excluded_disks: list[int]
    limits: dict[str, int]
    retries: dict[str, int]
    deadline_seconds: int
    priority: int
    verify: Literal["none", "quick", "full"]
    notifications: list[dict[str, Any]]
    snapshot_timeout_seconds: int
    created: Time
    updated: Time
    next_run: Time | None
    last_started: Time | None
    last_success: Time | None
    last_state: str | None
    unmatched: Annotated[list[str], Field(description="Rules that no VM answered to when it ran last.")]


class JobWithSlots(JobShown):
    upcoming: Annotated[list[Time], Field(description="The next times at which it runs.")]


class Failure(BaseModel):
    code: str
    message: str
    hint: str


class DiskDone(BaseModel):
    key: int
    label: str
    bytes_total: int
    bytes_done: int


class RunShown(BaseModel):
    """One backup, restore or verification of one VM, or a check or garbage collection of a repository."""

    id: str
    kind: Literal["backup", "restore", "verify", "check", "gc"]
    job_id: str | None
    job: str | None
    execution_id: str
    vm: Annotated[str, Field(description="Its name; of a check or collection the repository's.")]
    vm_instance_uuid: str
    vcenter_id: str | None
    repository_id: str
    state: Literal["queued", "running", "succeeded", "warning", "failed", "cancelled"]
    phase: str | None
    bytes_total: int
    bytes_done: int
    disks: list[DiskDone]
    rate: Annotated[int | None, Field(description="Bytes a second.")]
    eta_seconds: int | None
    created: Time
    started: Time | None
    finished: Time | None
    error: Failure | None
    restore_point_id: str | None
    worker: str | None
    attempts: int
    snapshot_state: Literal["none", "present", "removed", "left"]
    cancel_requested: bool
    warnings: list[str]
    result: dict[str, Any] | None
    parameters: dict[str, Any] | None


class Execution(BaseModel):
    """A job has been asked to run: a worker looks up its VMs and makes one run each."""

    execution_id: str
    job_id: str
    state: Literal["pending", "started", "failed", "cancelled"]
    error: str | None
    runs: list[RunShown]


class RunGiven(Given):
    """Which of the job's VMs, by name or instance UUID; none: all."""

    vms: list[Text] = []
    mode: Literal["", "auto", "full"] = ""


class LogLineShown(BaseModel):
    number: int
    time: Time
    level: str
    message: str
