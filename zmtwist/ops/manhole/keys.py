"""The manhole's keys: those that may log in, read anew at each attempt, and the host's own, made at the first start. Small local files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.checkers import IAuthorizedKeysDB
from twisted.conch.ssh.keys import FingerprintFormats, Key
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.durable import durable_write

HOST_KEY_FILE = "manhole_host_ed25519"
LARGEST = 256 * 1024
"""Bytes that are read of a file of keys."""

log = Logger()


class BadKeys(Exception):
    """Keys that can't be used; the text says why and what to do, and holds no key."""


@implementer(IAuthorizedKeysDB)
class AuthorizedKeys:
    """The public keys in a file. Whoever has one of them may log in, under any name. A line with options (`from=...`) is not taken."""

    def __init__(self, path: str) -> None:
        self._path = path

    def getAuthorizedKeys(self, username: bytes) -> tuple[Key, ...]:
        """The keys that the file holds now; none where it can't be trusted any more, which is logged."""
        try:
            return self.read()
        except BadKeys as error:
            log.error("manhole: nobody can log in: {error}", error=str(error))
            return ()

    def read(self) -> tuple[Key, ...]:
        """The keys that the file holds now, at least one. Raises BadKeys."""
        found = []
        for number, line in enumerate(_read_guarded(self._path).splitlines(), start=1):
            text = line.strip()
            if not text or text.startswith(b"#"):
                continue
            try:
                key = Key.fromString(text)
                if not key.isPublic():
                    raise ValueError("not a public key")
            except Exception:
                log.warn("manhole: {path}: line {number} is no public key", path=self._path, number=number)
            else:
                found.append(key)
        if not found:
            raise BadKeys(f"[manhole] authorized_keys {self._path}: holds no public key; put one on a line")
        return tuple(found)


def host_key(state: str) -> Key:
    """The host's own key, which is made with mode 0600 where there is none. Raises BadKeys."""
    path = Path(state, HOST_KEY_FILE)
    try:
        with path.open("rb") as file:
            told = os.fstat(file.fileno())
            text = file.read(LARGEST)
    except FileNotFoundError:
        return _make_host_key(path)
    except OSError as error:
        raise BadKeys(f"host key {path}: cannot be read: {error.strerror}") from None
    if stat.S_IMODE(told.st_mode) & 0o077:
        raise BadKeys(f"host key {path}: others may read it: remove it, and a new one is made")
    try:
        kept: Key = Key.fromString(text)
    except Exception:
        raise BadKeys(f"host key {path}: makes no sense: remove it, and a new one is made") from None
    return kept


def fingerprint(key: Key) -> str:
    """As `ssh-keygen -l` and ssh show it."""
    told: str = key.fingerprint(FingerprintFormats.SHA256_BASE64)
    return f"SHA256:{told.rstrip('=')}"


def _make_host_key(path: Path) -> Key:
    key = Key(Ed25519PrivateKey.generate())
    try:
        durable_write(path, key.toString("openssh"))
    except OSError as error:
        raise BadKeys(f"host key {path}: cannot be made: {error.strerror}") from None
    return key


def _read_guarded(path: str) -> bytes:
    """A file that nobody but root and we ourselves can change. Raises BadKeys."""
    name = f"[manhole] authorized_keys {path}"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe is not waited for
            told = os.fstat(file.fileno())
            if not stat.S_ISREG(told.st_mode):
                raise BadKeys(f"{name}: must be a file")
            _only_ours(name, told, f"chmod go-w {path}")
            directory = Path(path).resolve().parent
            _only_ours(f"{name}: its directory", directory.stat(), f"chmod go-w {directory}")
            return file.read(LARGEST)
    except OSError as error:
        raise BadKeys(f"{name}: cannot be read: {error.strerror}") from None


def _only_ours(what: str, told: os.stat_result, remedy: str) -> None:
    if told.st_uid not in (0, os.geteuid()):
        raise BadKeys(f"{what}: belongs to uid {told.st_uid}, and must to root or to the service's own user")
    if told.st_mode & 0o022 and not (stat.S_ISDIR(told.st_mode) and told.st_mode & stat.S_ISVTX):
        raise BadKeys(f"{what}: others may change it: {remedy}")
