"""The repository that a command works on, from its options."""

from __future__ import annotations

from pathlib import Path

from vbm.cli import secrets
from vbm.errors import InputError
from vbm.repository.keys import KeyFile, KeySource, Passphrase, RecoveryKey
from vbm.services.access import Where


def given_key(
    passphrase_env: str | None, key_file: Path | None, recovery_key_env: str | None = None
) -> KeySource | None:
    """The key that the options give, None where they give none. InputError where they give several."""
    given = [o for o in (passphrase_env, key_file, recovery_key_env) if o is not None]
    if len(given) > 1:
        raise InputError("give one of --passphrase-env, --key-file and --recovery-key-env")
    if passphrase_env:
        return Passphrase(secrets.from_variable(passphrase_env))
    if recovery_key_env:
        return RecoveryKey(secrets.from_variable(recovery_key_env))
    return KeyFile(secrets.from_file(key_file)) if key_file else None


def where(
    name: str | None,
    url: str | None,
    passphrase_env: str | None,
    key_file: Path | None,
    recovery_key_env: str | None,
) -> Where:
    """The choice of repository. InputError where options contradict each other."""
    key = given_key(passphrase_env, key_file, recovery_key_env)
    if url is None:
        if key is not None:
            raise InputError(
                "a key is given for a repository by its address alone: add --repository-url",
                hint="a repository with a name is opened with its stored key",
            )
        return Where(name=name)
    if name is not None:
        raise InputError("give a repository's name or --repository-url, not both")
    return Where(url=url, key=key, ask=_ask if secrets.interactive() else None)


def _ask() -> KeySource:
    return Passphrase(secrets.asked("Passphrase of the repository", otherwise="add --passphrase-env VAR"))
