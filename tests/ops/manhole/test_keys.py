from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from tests.ops.manhole.ssh import new_key
from zmtwist.config.endpoints import BadAddress, local_endpoint
from zmtwist.config.toml import ConfigError, parse
from zmtwist.ops.manhole.keys import HOST_KEY_FILE, AuthorizedKeys, BadKeys, host_key


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("unix:/run/m.sock", "unix:/run/m.sock:mode=600"),
        ("unix:/run/m.sock:mode=660", "unix:/run/m.sock:mode=660"),
        ("tcp:8022:interface=127.0.0.1", "tcp:8022:interface=127.0.0.1"),
        ("tcp:interface=127.9.9.9:port=8022", "tcp:interface=127.9.9.9:port=8022"),
        ("tcp6:8022:interface=\\:\\:1", "tcp6:8022:interface=\\:\\:1"),
    ],
)
def test_endpoints_that_only_this_host_reaches(written: str, used: str) -> None:
    assert local_endpoint(written) == used


ELSEWHERE = [
    "tcp:8022", "tcp:8022:interface=0.0.0.0", "tcp:8022:interface=", "tcp6:8022:interface=\\:\\:", "tcp:8022:192.168.0.1",
    "tcp:8022:interface=camera.lan", "tcp:interface=127.0.0.1", "ssl:8022:interface=127.0.0.1", "8022", "fd:3", "unix:",
    "systemd:domain=INET:index=0", "unix:/run/m.sock:mode=rw",
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ELSEWHERE)
def test_any_other_endpoint_is_refused_when_the_file_is_read(endpoint: str) -> None:
    with pytest.raises(BadAddress):
        local_endpoint(endpoint)
    with pytest.raises(ConfigError, match=r"^config: manhole\.endpoint: .*unix:/path"):
        parse(f"manhole = {{ endpoint = '{endpoint}', authorized_keys = '/k' }}")


@pytest.fixture
def authorized(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    lines = [new_key().public().toString("openssh", comment=b"ann@home") for _ in range(2)]
    path.write_bytes(b"# who may\n\n" + b"\n".join(lines) + b"\n")
    path.chmod(0o644)
    return path


def test_the_keys_of_a_file_as_it_is_now(authorized: Path) -> None:
    keys = AuthorizedKeys(str(authorized))
    assert len(keys.getAuthorizedKeys(b"anyone")) == 2
    lines = authorized.read_bytes().splitlines(keepends=True)
    authorized.write_bytes(lines[2] + b'from="10.0.0.1" ' + lines[3] + b"ssh-ed25519 AAAA\nnonsense\n")
    with capturedLogs() as logs:
        assert len(keys.getAuthorizedKeys(b"anyone")) == 1
    assert [event["number"] for event in logs] == [2, 3, 4]


def test_a_private_key_opens_no_door(authorized: Path) -> None:
    authorized.write_bytes(new_key().toString("openssh"))
    with capturedLogs() as logs, pytest.raises(BadKeys, match="holds no public key"):
        AuthorizedKeys(str(authorized)).read()
    assert "AAAA" not in repr(logs)


def spoil(path: Path, how: str) -> None:
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_text("# nobody\n")
        case "writable":
            path.chmod(0o664)
        case "directory":
            path.parent.chmod(0o777)
        case "pipe":
            path.unlink()
            os.mkfifo(path)
        case "owner":
            os.chown(path, 4711, -1)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("missing", "No such file"),
        ("empty", "holds no public key"),
        ("writable", "others may change it: chmod go-w"),
        ("directory", "its directory: others may change it"),
        ("pipe", "must be a file"),
        pytest.param("owner", "belongs to uid 4711", id="owner")
        if os.geteuid() == 0
        else ("missing", "No such file"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_trusted_lets_nobody_in(authorized: Path, how: str, why: str) -> None:
    spoil(authorized, how)
    keys = AuthorizedKeys(str(authorized))
    with pytest.raises(BadKeys, match=why):
        keys.read()
    with capturedLogs() as logs:
        assert keys.getAuthorizedKeys(b"ann") == ()
    assert why in logs[0]["error"]


def test_the_host_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    made = host_key(str(tmp_path))
    path = tmp_path / HOST_KEY_FILE
    assert (made.sshType(), stat.S_IMODE(path.stat().st_mode)) == (b"ssh-ed25519", 0o600)
    assert host_key(str(tmp_path)) == made
    assert list(tmp_path.iterdir()) == [path]
    path.chmod(0o640)
    with pytest.raises(BadKeys, match="others may read it"):
        host_key(str(tmp_path))
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(BadKeys, match="makes no sense"):
        host_key(str(tmp_path))
    with pytest.raises(BadKeys, match="cannot be made"):
        host_key(str(tmp_path / "absent"))
