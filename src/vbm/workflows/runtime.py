"""DBOS, set up as this product needs it: own database file, JSON records, a version of its own, no advertisement."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from vbm.catalog.engine import PAUSE_SECONDS, parse_url
from vbm.settings import Settings
from vbm.workflows import backup, care, restore, verify

# Bump only when steps are added, removed or put in another order: runs of another version are not gone on with.
APPLICATION_VERSION: Final = "1"
_WORKFLOWS: Final = {
    "backup": backup.backup_run,
    "restore": restore.restore_run,
    "verify": verify.verify_run,
    "check": care.check_run,
    "gc": care.collect_run,
}
_POLL_SECONDS: Final = 0.5
_THREADS: Final = 64
_AT_ONCE: Final = 500


def system_url(settings: Settings) -> str:
    """Where DBOS keeps its records: a file beside the catalog's, or a schema in the same PostgreSQL database."""
    url = parse_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{settings.home}/workflows.db"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@dataclass(frozen=True, slots=True)
class Runtime:
    """DBOS in this process; one at a time. ``queue`` is polled by this process alone."""

    queue: str

    @classmethod
    def start(cls, settings: Settings, executor_id: str) -> Runtime:
        """Migrate, launch, and listen to this process's own queue."""
        logging.getLogger("dbos").setLevel(logging.CRITICAL)  # what fails is told by the workflow
        os.environ.setdefault("DBOS__CLOUD", "false")
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        url = system_url(settings)
        queue = f"worker-{executor_id}"
        config: DBOSConfig = {
            "name": "vbm",
            "system_database_url": url,
            "application_version": APPLICATION_VERSION,
            "executor_id": executor_id,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "CRITICAL",
            "max_executor_threads": _THREADS,
            "use_listen_notify": False,
            "sys_db_idle_transaction_timeout_sec": PAUSE_SECONDS,
        }
        DBOS.migrate(url)
        DBOS(config=config)
        DBOS.listen_queues([queue])
        DBOS.launch()
        DBOS.register_queue(queue, polling_interval_sec=_POLL_SECONDS, on_conflict="always_update")
        return cls(queue)

    def execute(self, run_id: str, kind: str, attempts: int, wait_seconds: float) -> bool:
        """Start the run's workflow here, or go on with it here; False where it has ended before."""
        status = DBOS.get_workflow_status(run_id)
        if status is None:
            with SetWorkflowID(run_id):
                DBOS.start_workflow(_WORKFLOWS[kind], run_id, attempts, wait_seconds)
            return True
        if status.status in {"PENDING", "ENQUEUED", "DELAYED"}:
            DBOS.resume_workflow(run_id, queue_name=self.queue)
            return True
        return False

    def forget(self, before: datetime) -> None:
        """Drop the records of workflows that ended before then."""
        ended = DBOS.list_workflows(
            status=["SUCCESS", "ERROR"],
            completed_before=before.isoformat(),
            limit=_AT_ONCE,
            load_input=False,
            load_output=False,
        )
        if ended:
            DBOS.delete_workflows([status.workflow_id for status in ended])

    def stop(self) -> None:
        """For a process that has no run left."""
        DBOS.destroy(workflow_completion_timeout_sec=5)
