"""A few threads doing one piece of work together; the first error ends all of them and is the one raised."""

from __future__ import annotations

import threading
from collections.abc import Callable


def run_pool(workers: int, work: Callable[[threading.Event], None], name: str) -> None:
    """Call ``work(stop)`` once in each of the threads and wait for all. ``work`` returns soon after ``stop`` is set.

    An exception that hits the waiting thread itself (Ctrl-C) stops them too and goes on once they have ended.
    """
    stop = threading.Event()
    lock = threading.Lock()
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - carried over to the calling thread
            with lock:
                errors.append(error)
            stop.set()

    threads = [
        threading.Thread(target=guarded, name=f"{name} #{number}", daemon=True) for number in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        _join(threads)
    except BaseException:
        stop.set()
        _join(threads)
        raise
    if errors:
        raise errors[0]


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
