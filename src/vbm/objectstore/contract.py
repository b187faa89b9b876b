"""The contract of an object store, executable: what ``base.py`` promises, each promise a function of a store.

Every implementation runs all of ``PROMISES``. A check works below a prefix of its own, so one store serves all; it
raises BrokenPromiseError where the store does otherwise. Durability can't be seen from here.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, overload

from vbm.errors import DamagedError, InputError
from vbm.objectstore.base import Data, ObjectExistsError, ObjectMissingError, ObjectStore
from vbm.objectstore.streaming import begin_upload
from vbm.units import MIB

Promise = Callable[[ObjectStore], None]
BAD_KEYS: Final = (
    "",
    "/",
    "/etc/passwd",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    "a b",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\n",
    "ä",
    "a:b",
    "a*",
    "a" * 201,
    "/".join(["a" * 100] * 6),
)


class BrokenPromiseError(AssertionError):
    """The store does not do what its contract says."""


def _expect(kept: bool, promise: str) -> None:
    if not kept:
        raise BrokenPromiseError(promise)


def _refuses(error: type[Exception], call: Callable[[], object], promise: str) -> None:
    try:
        call()
    except error:
        return
    raise BrokenPromiseError(promise)


def _prefix() -> str:
    return f"contract-{secrets.token_hex(4)}"


def _keys(store: ObjectStore, prefix: str) -> list[str]:
    return sorted(info.key for info in store.list(prefix))


def what_is_put_is_read(store: ObjectStore) -> None:
    key = f"{_prefix()}/a"
    buffer = bytearray(b"two")
    store.put(key, [b"one", buffer, memoryview(b"three")[1:]])
    buffer[:] = b"xxx"
    _expect(store.get(key) == b"onetwohree", "an object is the concatenation of its parts")
    _expect(store.size(key) == 10, "size is the number of bytes")
    found = [info for info in store.list(key) if info.key == key]
    _expect([info.size_bytes for info in found] == [10], "a listing shows the object and its size")
    _expect(found[0].modified.tzinfo is not None, "times are aware")


def any_number_of_parts_is_taken(store: ObjectStore) -> None:
    for name, parts in (
        ("none", []),
        ("empty", [b"", b""]),
        ("many", [bytes([n % 256]) for n in range(3000)]),
    ):
        key = f"{_prefix()}/{name}"
        store.put(key, parts)
        _expect(store.get(key) == b"".join(parts), f"{name} parts make an object")


def large_objects_come_back(store: ObjectStore) -> None:
    key, piece = f"{_prefix()}/large", secrets.token_bytes(MIB)
    store.put(key, [piece] * 20)
    _expect(store.get(key) == piece * 20, "20 MiB come back")
    _expect(store.get_range(key, 19 * MIB + 5, 100) == piece[5:105], "and any range of them")


def the_first_of_a_name_stays(store: ObjectStore) -> None:
    key = f"{_prefix()}/a"
    store.put(key, [b"first"])
    _refuses(ObjectExistsError, lambda: store.put(key, [b"second"]), "a name is taken once")
    _expect(store.get(key) == b"first", "nothing is overwritten")


def one_of_many_writers_wins(store: ObjectStore) -> None:
    for _ in range(5):
        key, writers = f"{_prefix()}/raced", 8
        start = threading.Barrier(writers)
        won: list[int] = []

        def write(
            number: int, key: str = key, start: threading.Barrier = start, won: list[int] = won
        ) -> None:
            start.wait()
            try:
                store.put(key, [bytes([number]) * 100_000])
            except ObjectExistsError:
                return
            won.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _expect(len(won) == 1, f"of {writers} writers of one name one succeeds, not {len(won)}")
        _expect(store.get(key) == bytes([won[0]]) * 100_000, "what is stored is the winner's")


def ranges_are_exact(store: ObjectStore) -> None:
    key = f"{_prefix()}/a"
    store.put(key, [b"0123456789"])
    _expect(store.get_range(key, 3, 4) == b"3456", "a range is what lies there")
    _expect(store.get_range(key, 0, 10) == b"0123456789", "the whole is a range")
    _expect(store.get_range(key, 9, 1) == b"9", "the last byte is a range")
    for offset, length in ((8, 3), (10, 1), (100, 5)):
        _refuses(DamagedError, partial(store.get_range, key, offset, length), "no range is cut short")


def what_is_missing_is_said_to_be(store: ObjectStore) -> None:
    prefix = _prefix()
    store.put(f"{prefix}/folder/a", [b"x"])
    for key in (f"{prefix}/nothing", f"{prefix}/no/folder", f"{prefix}/folder", f"{prefix}/folder/a/b"):
        _refuses(ObjectMissingError, partial(store.get, key), f"get of {key}: missing")
        _refuses(ObjectMissingError, partial(store.get_range, key, 0, 1), f"get_range of {key}: missing")
        _refuses(ObjectMissingError, partial(store.size, key), f"size of {key}: missing")


def listings_go_by_prefix(store: ObjectStore) -> None:
    prefix = _prefix()
    names = ["a", "ab/1", "ab/2", "abc/d/e/f", "b", ".hidden/x", "ab.d"]
    for name in names:
        store.put(f"{prefix}/{name}", [name.encode()])
    _expect(_keys(store, f"{prefix}/") == sorted(f"{prefix}/{name}" for name in names), "all are listed once")
    _expect(_keys(store, prefix) == _keys(store, f"{prefix}/"), "a prefix may end within a name")
    for part in ("a", "ab", "ab/", "abc/d/", "abc/d/e/f", "b", ".h", "zz", "ab/3"):
        wanted = sorted(f"{prefix}/{name}" for name in names if name.startswith(part))
        _expect(_keys(store, f"{prefix}/{part}") == wanted, f"exactly what starts with {part!r} is listed")
    _expect({*_keys(store, prefix)} <= {*_keys(store, "")}, "without a prefix everything is listed")


def what_is_deleted_is_gone(store: ObjectStore) -> None:
    key = f"{_prefix()}/a"
    store.put(key, [b"old"])
    _expect(store.get_range(key, 0, 3) == b"old", "it is there")
    store.delete(key)
    _refuses(ObjectMissingError, lambda: store.get(key), "a deleted object is not read")
    _refuses(ObjectMissingError, lambda: store.get_range(key, 0, 1), "nor a range of it")
    _expect(_keys(store, key) == [], "nor is it listed")
    store.delete(key)
    store.delete(f"{key}/no/such")
    store.put(key, [b"new"])
    _expect(store.get_range(key, 0, 3) == b"new", "its name is free again")


def a_listing_survives_deletions(store: ObjectStore) -> None:
    prefix = _prefix()
    for number in range(50):
        store.put(f"{prefix}/{number % 5}/{number}", [b""])
    for info in store.list(f"{prefix}/"):
        store.delete(info.key)
    _expect(_keys(store, f"{prefix}/") == [], "what is listed can be deleted meanwhile")


def bad_keys_are_refused(store: ObjectStore) -> None:
    for key in BAD_KEYS:
        what = f"{key[:30]!r} is no key"
        _refuses(InputError, partial(store.put, key, [b""]), what)
        _refuses(InputError, partial(store.get, key), what)
        _refuses(InputError, partial(store.get_range, key, 0, 1), what)
        _refuses(InputError, partial(store.size, key), what)
        _refuses(InputError, partial(store.delete, key), what)
    for prefix in ("../", "a/../../", "/", "/etc/"):
        _expect(_listed_or_refused(store, prefix) == [], f"nothing lies below {prefix!r}")


def _listed_or_refused(store: ObjectStore, prefix: str) -> list[str]:
    try:
        return _keys(store, prefix)
    except InputError:
        return []


class _Breaking(Sequence[Data]):
    """Parts of which the third can't be had."""

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[Data]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Data: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Data]: ...
    def __getitem__(self, index: int | slice) -> Data | Sequence[Data]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if index == 2:
            raise RuntimeError("this part can't be had")
        return bytes(MIB)


def a_put_that_breaks_leaves_nothing(store: ObjectStore) -> None:
    key = f"{_prefix()}/a"
    _refuses(RuntimeError, lambda: store.put(key, _Breaking()), "the caller's own error comes through")
    _refuses(ObjectMissingError, lambda: store.get(key), "half an object is none")
    _expect(_keys(store, key) == [], "nor is it listed")
    store.put(key, [b"whole"])
    _expect(store.get(key) == b"whole", "its name is free")


def uploads_keep_the_same_promises(store: ObjectStore) -> None:
    prefix = _prefix()
    upload = begin_upload(store)
    buffer = bytearray(b"one")
    upload.write(buffer)
    buffer[:] = b"two"
    upload.write(buffer)
    _expect(_keys(store, prefix) == [], "nothing is visible before the end")
    upload.commit(f"{prefix}/a")
    upload.abort()
    _expect(store.get(f"{prefix}/a") == b"onetwo", "an upload is the concatenation of what was written")
    second = begin_upload(store)
    second.write(b"x")
    _refuses(ObjectExistsError, lambda: second.commit(f"{prefix}/a"), "an upload overwrites nothing")
    third = begin_upload(store)
    third.write(b"x")
    third.abort()
    third.abort()
    _expect(_keys(store, prefix) == [f"{prefix}/a"], "an upload given up leaves nothing")


def space_is_plausible_or_unknown(store: ObjectStore) -> None:
    space = store.space()
    _expect(space is None or 0 <= space.free_bytes <= space.total_bytes, "free is at most total")


def the_url_holds_no_secret(store: ObjectStore) -> None:
    _expect("://" in store.url, "a store says where it is")
    user = store.url.partition("://")[2].rpartition("@")[0]
    _expect(":" not in user, "without credentials")


PROMISES: Final[tuple[Promise, ...]] = (
    what_is_put_is_read,
    any_number_of_parts_is_taken,
    large_objects_come_back,
    the_first_of_a_name_stays,
    one_of_many_writers_wins,
    ranges_are_exact,
    what_is_missing_is_said_to_be,
    listings_go_by_prefix,
    what_is_deleted_is_gone,
    a_listing_survives_deletions,
    bad_keys_are_refused,
    a_put_that_breaks_leaves_nothing,
    uploads_keep_the_same_promises,
    space_is_plausible_or_unknown,
    the_url_holds_no_secret,
)
