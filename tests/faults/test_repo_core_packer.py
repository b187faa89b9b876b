"""Packs are filled while others are being written, but only so many at a time."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from fixtures_repo_core import CHUNK, KEY, draft, entry, faulty, new_repository, noise, read_back
from vbm.repository.format import PACK_BYTES
from vbm.repository.repository import Repository

PER_PACK = PACK_BYTES // CHUNK  # sealed chunks of noise are a little larger: they fill a pack


def test_a_pack_that_takes_long_to_write_holds_up_nobody_until_a_third_is_full(tmp_path: Path) -> None:
    store = faulty(tmp_path)
    repo = new_repository(store)
    go_on = threading.Event()
    slow = store.on("put", "packs/*").once().call(go_on.wait)
    dice = random.Random(1)
    parts = [dice.randbytes(CHUNK) for _ in range(2 * PER_PACK + 3)]
    with repo.writer(owner="test") as writer:
        held_up = threading.Thread(target=lambda: [writer.put_chunk(part) for part in parts[:PER_PACK]])
        held_up.start()
        while not slow.hits:
            held_up.join(0.01)
        for part in parts[PER_PACK:]:
            writer.put_chunk(part)
        assert len(list(store.inner.list("packs/"))) == 1  # the second, while the first still waits
        assert held_up.is_alive()
        go_on.set()
        held_up.join()
        writer.checkpoint()
        assert len(list(store.inner.list("packs/"))) == 3


def test_at_most_two_packs_are_written_at_once(tmp_path: Path) -> None:
    store = faulty(tmp_path)
    repo = new_repository(store)
    lock = threading.Lock()
    now, most = 0, 0

    def begins() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def ends() -> None:
        nonlocal now
        with lock:
            now -= 1

    store.on("put", "packs/*").call(begins).after(ends)
    data = noise(2, 6 * PER_PACK)
    with repo.writer(owner="test") as writer:
        map_ = writer.new_map(len(data))

        def work(first: int) -> None:
            for index in range(first, 6 * PER_PACK, 4):
                part = memoryview(data)[index * CHUNK : (index + 1) * CHUNK]
                map_.set(index, writer.put_chunk(part).id)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.put_map(entry(len(data)), map_)
        writer.commit(draft("rp-1"))
    assert 1 <= most <= 2
    assert read_back(Repository.open(store, KEY), "rp-1") == data
