"""An encrypted repository shows nothing of what is in it: neither data nor names."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures_repo_core import CHUNK, KEY, draft, entry, files_of, fill, key_of, new_repository
from vbm.objectstore.local import LocalStore
from vbm.repository.condemned import Condemned, write_condemned
from vbm.repository.envelope import Envelope
from vbm.repository.keys import Passphrase
from vbm.repository.repository import Repository

SECRETS = {
    "guest data": b"the guest's secret line",
    "guest noise": bytes((n * 37 + 11) % 251 for n in range(64)),
    "machine": b"payroll-server",
    "vcenter": b"vcenter.internal",
    "host": b"esx7.internal",
    "file content": b"scsi0.present",
    "owner": b"backup of payroll",
    "passphrase": b"correct horse battery",
    "disk label": b"Hard disk 1",
}


def _write(store: LocalStore, encrypted: bool) -> Repository:
    repo = new_repository(store, Passphrase("correct horse battery") if encrypted else key_of(False))
    if encrypted:
        repo.add_key(KEY)
    data = (SECRETS["guest data"] * CHUNK)[:CHUNK] + (SECRETS["guest noise"] * CHUNK)[:CHUNK]
    with repo.writer(owner="backup of payroll-server") as writer:
        map_ = writer.new_map(len(data))
        fill(writer, map_, data)
        writer.put_file("vm.vmx", b'scsi0.present = "TRUE"\n')
        writer.put_map(entry(len(data)), map_)
        config = {"host": "esx7.internal"}
        writer.commit(draft("rp-1", vm_name="payroll-server", vcenter="vcenter.internal", config=config))
    write_condemned(store, repo.envelope, Condemned("1", "2026-01-01T00:00:00Z", ()))
    repo.writer(owner="backup of payroll-server")._session._stop.set()  # as left by a crash
    return repo


@pytest.mark.parametrize("what", SECRETS)
def test_no_secret_lies_in_the_bytes_or_names_of_an_encrypted_repository(tmp_path: Path, what: str) -> None:
    store = LocalStore(tmp_path)
    _write(store, encrypted=True)
    secret = SECRETS[what]
    for path in files_of(store):
        assert secret not in path.read_bytes(), path
        assert secret not in str(path.relative_to(tmp_path)).encode()


def test_the_same_bytes_are_found_where_nothing_is_encrypted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    _write(store, encrypted=False)
    everything = b"".join(path.read_bytes() for path in files_of(store))
    assert all(SECRETS[what] in everything for what in ("machine", "vcenter", "host", "disk label"))


def test_ids_do_not_tell_which_content_is_stored(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    repo = _write(store, encrypted=True)
    data = (SECRETS["guest data"] * CHUNK)[:CHUNK]
    known = Envelope(None).chunk_id(data)
    assert known not in repo.index
    assert repo.envelope.chunk_id(data) in repo.index
    assert all(known not in path.read_bytes() for path in files_of(store))
