"""Real SSH connections to the manhole of a service."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.conch.error import ConchError
from twisted.conch.ssh.keys import Key
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.ops.manhole.ssh import Client, new_key
from tests.ops.mqtt.world import Running, worker
from tests.ops.served import free_port
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.config.model import ManholeConfig
from zmtwist.fleet.process.state import State
from zmtwist.ops.manhole import ssh as shell
from zmtwist.ops.manhole.namespace import HELP
from zmtwist.ops.manhole.service import ManholeService

REASON = "rtsp://me:hush@camera/ is away"


class Place:
    """A manhole into a service that is none; `key` may log in."""

    def __init__(self, directory: Path, endpoint: str | None = None) -> None:
        self.key = new_key()
        self.keys = directory / "authorized_keys"
        self.allow(self.key)
        self.path = f"{directory}/m.sock"
        self.client = f"unix:{self.path}"
        fleet = Running([worker(3, State.BACKOFF, REASON)])
        service: Any = SimpleNamespace(
            fleet=fleet, ingest=None, names={3: "Front"}, database=SimpleNamespace(url="sqlite")
        )
        config = ManholeConfig(endpoint or self.client, str(self.keys))
        self.service = ManholeService(reactor, config, str(directory), service)

    def allow(self, key: Key) -> None:
        self.keys.write_bytes(key.public().toString("openssh"))

    async def open(self) -> Place:
        self.service.startService()
        await until(lambda: self.service._opening.called)
        return self


@pytest_twisted.ensureDeferred
async def test_a_login_with_the_right_key(tmp_path: Path) -> None:
    place = await Place(tmp_path).open()
    try:
        assert stat.S_IMODE(Path(place.path).stat().st_mode) == 0o600
        with capturedLogs() as logs:
            ann = await (await Client.to(place.client, place.key)).shell()
            bob = await (await Client.to(place.client, place.key)).shell(terminal=False)
        assert [event["user"] for event in logs if "is let in by" in event["log_format"]] == ["'ann'", "'ann'"]
        shown = await ann.type(b"help()", b"restart(3)")
        assert shown.replace(b"\r\n", b"\n").count(HELP.encode()) == 1
        shown = await ann.type(b"monitors", b"BACKOFF")
        assert b"Front" in shown
        assert b"rtsp://***@camera/ is away" in shown
        await ann.type(b"print(monitors[3].reason)", b"rtsp://***@camera/")
        await ann.type(b"mine = len(monitors) + 41", b">>> ")
        await ann.type(b"mine", b"42")
        await ann.type(b"1 / 0", b"ZeroDivisionError")
        await bob.type(b"mine", b"NameError")
        await bob.type(b"exit", b"the service goes on")
        assert bob.channel is not None
        bob.channel.write(b"exit()\r")
        await until(lambda: bob.closed)
        assert ann.channel is not None
        ann.channel.write(b"raise SystemExit\r")
        await until(lambda: ann.closed)
        ann.leave()
        bob.leave()
        await until(lambda: not place.service._factory._transports)  # type: ignore[union-attr]
    finally:
        await place.service.stopService()
    assert not Path(place.path).exists()


@pytest_twisted.ensureDeferred
async def test_who_does_not_get_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = await Place(tmp_path, f"tcp:{(port := free_port())}:interface=127.0.0.1").open()
    where = f"tcp:127.0.0.1:{port}"
    try:
        with capturedLogs() as logs:
            wrong = await Client.to(where, new_key())
            await until(lambda: wrong.lost)
            password = await Client.to(where, password=b"hush")  # which is not on offer, and tried all the same
            await until(lambda: password.lost)
            bold = await Client.to(where, asks_nobody=True)
            await until(lambda: bold.lost)
            right = await Client.to(where, place.key)
            await until(lambda: right.channel)
            with monkeypatch.context() as patch:
                patch.setattr(shell, "MOST_CONNECTIONS", 1)
                one_too_many = await Client.to(where, place.key)
                await until(lambda: one_too_many.lost)
        assert (wrong.channel, password.channel, bold.channel) == (None, None, None)
        assert wrong.methods == [b"publickey"]
        assert 1 < password.tries <= shell.ATTEMPTS + 1  # the first asks what is on offer
        assert any("is refused with" in event["log_format"] for event in logs)
        assert "hush" not in repr(logs)
        # The file is read anew at each login.
        place.allow(new_key())
        late = await Client.to(where, place.key)
        await until(lambda: late.methods)
        assert late.channel is None
        with pytest.raises(ConchError):
            await right.command(b"monitors")  # there is only a prompt
    finally:
        await place.service.stopService()
    await until(lambda: right.lost and late.lost)


@pytest_twisted.ensureDeferred
async def test_who_does_not_log_in_soon_is_cut(tmp_path: Path) -> None:
    place = await Place(tmp_path).open()
    factory: Any = place.service._factory
    factory.reactor = Clock()
    try:
        inside = await (await Client.to(place.client, place.key)).shell()
        with socket.socket(socket.AF_UNIX) as idle:
            idle.connect(place.path)
            await until(lambda: len(factory._transports) == 2)
            factory.reactor.advance(shell.LOGIN_SECONDS)
            await until(lambda: len(factory._transports) == 1)
        await inside.type(b"1 + 1", b"2")
    finally:
        await place.service.stopService()
    await until(lambda: inside.lost)


def no_keys(place: Place) -> None:
    place.keys.unlink()


def lax_keys(place: Place) -> None:
    place.keys.chmod(0o666)


def taken(place: Place) -> None:
    Path(place.path).mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"), [(no_keys, "No such file"), (lax_keys, "chmod go-w"), (taken, "m.sock")]
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_what_keeps_it_closed_is_said(tmp_path: Path, spoil: Callable[[Place], None], why: str) -> None:
    place = Place(tmp_path)
    spoil(place)
    with capturedLogs() as logs:
        await place.open()
        await place.service.stopService()
    (said,) = [event for event in logs if event["log_format"].startswith("the manhole stays closed")]
    assert why in said["error"]
    assert place.service._port is None


@pytest_twisted.ensureDeferred
async def test_in_the_whole_service(tmp_path: Path) -> None:
    zm = Installation.make(tmp_path)
    zm.monitor(1, "Record", SectionLength=60, Path="rtsp://me:hush@127.0.0.1:1/x", Type="Ffmpeg")
    key = new_key()
    keys = tmp_path / "authorized_keys"
    keys.write_bytes(key.public().toString("openssh"))
    endpoint = f"unix:{tmp_path}/run/m.sock"
    whole = zm.service(
        f'[manhole]\nendpoint = "{endpoint}"\nauthorized_keys = "{keys}"', tuning={"ZM_CORE_SIM": "light"}
    )
    whole.startService()
    try:
        await until(lambda: whole.fleet is not None and whole.fleet.status())
        client = await (await Client.to(endpoint, key)).shell()
        await until(lambda: whole.fleet.status()[0].pid)
        before = whole.fleet.status()[0].pid
        await client.type(b"monitors", b"Camera 1")
        await client.type(b"writer.queued", b"0")
        await client.type(b"restart(9)", b"does not run on zm-next")
        await client.type(b"restart(1)", b"monitor 1 is ")
        await until(lambda: whole.fleet.status()[0].pid not in (before, None))
        shown = await client.type(b"db('SELECT Id, Name FROM Monitors WHERE Id = %s', 1)", b"called back")
        assert b"(1, 'Camera 1')" in shown
        for line in (
            b"fleet.documents(1)",
            b"fleet.status()",
            b"service.catalog",
            b"db",
            b"vars(service)['_settings']",
        ):
            assert b"hush" not in await client.type(line, b">>> ")
    finally:
        await whole.stopService()
    await until(lambda: client.lost)
