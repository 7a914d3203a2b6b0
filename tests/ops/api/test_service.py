"""The API's doors and bounds, over real sockets, with nothing behind them."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from tests.ops.served import Served, ask, transition
from tests.waiting import until
from zmtwist.ops.api import sse
from zmtwist.ops.http import connections, protocol


@pytest_twisted.ensureDeferred
async def test_while_the_database_is_awaited(tmp_path):
    served = await Served.on(tmp_path)
    try:
        told = (await ask(served.path, "/api/status")).json
        assert (told["state"], told["monitors"]["total"]) == ("STARTING", 0)
        assert "connection refused" in told["database"]["error"]
        away = await ask(served.path, "/api/monitors")
        assert (away.status, away.code) == (503, "not_running")
        metrics = (await ask(served.path, "/metrics")).body
        assert b"zmnext_database_away 1.0" in metrics
    finally:
        await served.service.stopService()
    assert not Path(served.path).exists()


@pytest_twisted.ensureDeferred
async def test_the_socket_its_mode_and_a_dead_predecessor(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/api.sock")
    (tmp_path / "api.sock.lock").symlink_to("1")  # of a process that lives, but is not the one that listened
    served = await Served.on(tmp_path)
    try:
        assert stat.S_IMODE(Path(served.path).stat().st_mode) == 0o660
        assert (await ask(served.path, "/api/status", host="anything")).status == 200
    finally:
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_path_too_long_is_told_and_stops_nothing(tmp_path):
    directory = tmp_path / ("x" * 100)
    directory.mkdir()
    with capturedLogs() as logs:
        served = await Served.on(directory)
        await served.service.stopService()
    (said,) = [event for event in logs if event.get("log_format", "").startswith("the API is not served")]
    assert "too long for a UNIX socket" in said["error"]


@pytest_twisted.ensureDeferred
async def test_every_request_over_tcp_needs_the_token(tmp_path):
    served = await Served.on(tmp_path, web=True)
    try:
        assert stat.S_IMODE(served.token_file.stat().st_mode) == 0o600
        good = served.bearer
        for method, path in (
            ("GET", "/api/status"),
            ("GET", "/metrics"),
            ("GET", "/nowhere"),
            ("POST", "/api/reconcile"),
        ):
            bad = await ask(served.tcp, path, method, Authorization="Bearer nonsense")
            assert (bad.status, bad.code, bad.headers["www-authenticate"]) == (
                401,
                "unauthorized",
                'Bearer realm="zmnext"',
            )
        answer = await ask(served.tcp, "/api/status", **good)
        assert answer.status == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["server"] == "zmtwist"
        assert (await ask(served.tcp, "/api/status", Host="evil.example", **good)).code == "wrong_host"
        assert (await ask(served.tcp, "/api/status", Origin="http://evil.example", **good)).code == "foreign_origin"
        assert (await ask(served.tcp, "/nowhere", **good)).code == "not_found"
        assert (await ask(served.tcp, "/api/status", "DELETE", **good)).code == "method_not_allowed"
        assert (await ask(served.tcp, "/api/%ff", **good)).status == 400
    finally:
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_token_that_others_may_read_opens_no_door(tmp_path):
    (tmp_path / "api.token").write_text("a-token-that-everyone-knows\n")
    (tmp_path / "api.token").chmod(0o644)
    with capturedLogs() as logs:
        served = await Served.on(tmp_path, extra='web = "tcp:0:interface=127.0.0.1"')
        try:
            assert (await ask(served.path, "/api/status")).status == 200
        finally:
            await served.service.stopService()
    (said,) = [event for event in logs if event.get("log_format", "").startswith("the API is not served")]
    assert "chmod 600" in said["error"]


@pytest_twisted.ensureDeferred
async def test_huge_bodies(tmp_path):
    served = await Served.on(tmp_path)
    try:
        large = await ask(served.path, "/api/reconcile", "POST", b"x" * (protocol.MOST_BODY + 1))
        assert (large.status, large.code) == (413, "too_large")

        def chunks():
            for _ in range(64):
                yield b"x" * 1024

        chunked = await ask(served.path, "/api/reconcile", "POST", chunks())
        assert chunked.code == "too_large"
        announced = await deferToThread(
            _raw, served.path, b"POST /api/reconcile HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n"
        )
        assert announced.startswith(b"HTTP/1.1 413 ")
        endless = await deferToThread(_endless, served.path)
        assert endless < 64 * protocol.MOST_DISCARDED
        head = await deferToThread(_raw, served.path, b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
        assert head == b"" or head.startswith(b"HTTP/1.1 400 ")
        assert (await ask(served.path, "/api/status")).status == 200
    finally:
        await served.service.stopService()


def _raw(path, data):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        try:
            client.sendall(data)
            return client.recv(65536)
        except OSError:
            return b""


def _endless(path):
    """How many bytes of a chunked body were taken before the connection was cut."""
    sent, chunk = 0, b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        try:
            client.sendall(b"POST /api/reconcile HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            while sent < 200 * protocol.MOST_DISCARDED:
                client.sendall(chunk)
                sent += len(chunk)
        except OSError:
            return sent
    return sent


@pytest.mark.parametrize(
    "opening", [b"", b"GET", b"GET /api/status HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n"]
)
@pytest_twisted.ensureDeferred
async def test_a_client_that_drips_is_cut(tmp_path, monkeypatch, opening):
    monkeypatch.setattr(connections, "RECEIVE_SECONDS", 0.3)
    served = await Served.on(tmp_path)
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(served.path)
        client.setblocking(False)
        client.send(opening or b"\r\n")

        def cut():
            try:
                client.send(b"x")
                return client.recv(10) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

        await until(cut)
    finally:
        client.close()
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_too_many_connections(tmp_path, monkeypatch):
    served = await Served.on(tmp_path)
    served.service._factories[0]._most = 3
    clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    try:
        for client in clients:
            client.connect(served.path)
            client.setblocking(False)
        await until(lambda: [_closed(client) for client in clients] == [True, True, False, False, False])
        assert (served.service.cuts, served.service.refused["connections"]) == (2, 0)
        assert (await ask(served.path, "/api/status")).status == 200
    finally:
        for client in clients:
            client.close()
        await served.service.stopService()


def _closed(client):
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


STREAM = b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n"


def _open_stream(path, request=STREAM):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.send(request)
    client.setblocking(False)
    return client


def _read(client, into):
    try:
        data = client.recv(65536)
        into.extend(data)
    except BlockingIOError:
        pass
    return bytes(into)


@pytest_twisted.ensureDeferred
async def test_a_stream_tells_what_happens_and_what_was_missed(tmp_path):
    served = await Served.on(tmp_path)
    served.service.announce(transition(1))
    client, heard = _open_stream(served.path), bytearray()
    try:
        await until(lambda: b"retry: 3000" in _read(client, heard))
        served.service.announce(transition(2, reason="with rtsp://bob:hush@camera/"))
        await until(lambda: b"event: transition" in _read(client, heard))
        assert b"text/event-stream" in heard
        assert b"hush" not in heard
        mark = heard.split(b"id: ")[1].split(b"\n")[0].decode()
        assert mark.endswith("-2")
    finally:
        client.close()
    await until(lambda: len(served.service._streams) == 0 and len(served.service._feed) == 0)
    for last, expected in ((f"{mark[:-1]}1", b'"from":"LIVE"'), ("other-1", b"event: resync")):
        again, heard = (
            _open_stream(served.path, STREAM[:-2] + b"Last-Event-ID: %s\r\n\r\n" % last.encode()),
            bytearray(),
        )
        try:
            await until(lambda a=again, h=heard, e=expected: e in _read(a, h))
        finally:
            again.close()
    await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_numbers_of_thousands_of_digits_harm_nobody(tmp_path):
    served = await Served.on(tmp_path)
    well, heard = _open_stream(served.path), bytearray()
    nines = "9" * 5000
    try:
        await until(lambda: b"retry: 3000" in _read(well, heard))
        with capturedLogs() as logs:
            run = served.service._feed.run
            for path, expected in (
                (f"/api/stream?after={run}-{nines}", (400, "bad_request")),
                (f"/api/stream?monitor={nines}", (400, "bad_request")),
                (f"/api/events?limit={nines}", (400, "bad_request")),
                (f"/api/events?since={nines}", (400, "bad_request")),
                (f"/api/monitors/{nines}", (404, "not_found")),
                (f"/api/events/{nines}/clip?ticket={nines}.{nines}", (404, "not_found")),
            ):
                answer = await ask(served.path, path)
                assert (answer.status, answer.code) == expected
            again = _open_stream(served.path, STREAM[:-2] + b"Last-Event-ID: %s-%s\r\n\r\n" % (run.encode(), b"9" * 19))
            resync = bytearray()
            await until(lambda: b"event: resync" in _read(again, resync))
            again.close()
            served.service.announce(transition(1))
        assert not [event for event in logs if "log_failure" in event]
        await until(lambda: b"event: transition" in _read(well, heard))
    finally:
        well.close()
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_read_its_stream_is_cut(tmp_path):
    served = await Served.on(tmp_path)
    stalled, reading, heard = _open_stream(served.path), _open_stream(served.path), bytearray()
    try:
        await until(lambda: len(served.service._streams) == 2)
        for number in range(300):
            for _ in range(20):
                served.service.announce(transition(number, reason="x" * 200))
            _read(reading, heard)
            await deferLater(reactor, 0)
            heard.clear()
        await until(lambda: len(served.service._streams) == 1)
        served.service.announce(transition(999, reason="the last"))
        await until(lambda: b"the last" in _read(reading, heard))
    finally:
        stalled.close()
        reading.close()
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_idle_streams_are_kept_and_dead_ones_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(sse, "BEAT_SECONDS", 0.1)
    served = await Served.on(tmp_path)
    served.service._limits.streams.most = 200
    clients = await deferToThread(lambda: [_open_stream(served.path) for _ in range(200)])
    try:
        await until(lambda: len(served.service._streams) == 200)
        full = await ask(served.path, "/api/stream")
        assert (full.status, full.code) == (503, "too_many_streams")
        heard = bytearray()
        await until(lambda: _read(clients[0], heard).count(b":\n\n") >= 3)
        served.service.announce(transition(7))
        await until(lambda: b"STALLED" in _read(clients[199], heard))
        answers = await gatherResults([ask(served.path, "/api/status") for _ in range(20)])
        assert {a.status for a in answers} == {200}
        assert answers[-1].json["reactor_lag_seconds"]["longest_of_last_minute"] < 1
        for client in clients[:100]:
            client.close()
        await until(lambda: len(served.service._streams) == 100)
    finally:
        for client in clients:
            client.close()
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_stop_ends_streams_and_idle_connections(tmp_path):
    served = await Served.on(tmp_path)
    streaming, idle = _open_stream(served.path), socket.socket(socket.AF_UNIX)
    idle.connect(served.path)
    idle.setblocking(False)
    await until(lambda: len(served.service._streams) == 1)
    await served.service.stopService()
    heard = bytearray()
    await until(lambda: _read(streaming, heard).endswith(b"0\r\n\r\n") or _closed(streaming))
    await until(lambda: _closed(idle))
    streaming.close()
    idle.close()


@pytest_twisted.ensureDeferred
async def test_orders_are_logged_with_who_gave_them(tmp_path):
    served = await Served.on(tmp_path)
    try:
        with capturedLogs() as logs:
            assert (await ask(served.path, "/api/monitors/3/stop?x=secret", "POST")).code == "not_running"
        (said,) = [event for event in logs if "asks for" in event.get("log_format", "")]
        assert (said["path"], said["who"]) == ("/api/monitors/3/stop", f"uid {os.geteuid()} (process {os.getpid()})")
        assert "secret" not in json.dumps(said, default=str)
    finally:
        await served.service.stopService()
