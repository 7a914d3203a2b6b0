"""The API before a whole service with simulated workers, on a UNIX socket and on TCP."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent, globalLogPublisher

from tests.ops.served import ask, free_port
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.state import State
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.api.openapi import openapi
from zmtwist.ops.api.routes import Api

SECRET = "hush@:/%hush"
QUOTED = "hush%40%3A%2F%25hush"


@pytest.fixture
def zm(tmp_path):
    made = Installation.make(tmp_path)
    made.monitor(1, "Record", SectionLength=2, Type="Ffmpeg", Path=f"rtsp://bob:{QUOTED}@127.0.0.1/yard")
    made.monitor(2, "Record", Type="Local")
    made.monitor(3, "None", User="bob", Pass=SECRET)
    return made


def conforms(value, schema):
    """Whether an answer is what the description says. Knows as much of JSON Schema as the description uses."""
    if "$ref" in schema:
        schema = openapi()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if "oneOf" in schema:
        return any(conforms(value, one) for one in schema["oneOf"])
    kinds = {
        "string": str,
        "number": (int, float),
        "integer": int,
        "boolean": bool,
        "object": dict,
        "array": list,
        "null": type(None),
    }
    wanted = schema.get("type", list(kinds))
    if not any(isinstance(value, kinds[k]) for k in ([wanted] if isinstance(wanted, str) else wanted)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, dict) and "properties" in schema:
        return set(value) == set(schema["properties"]) and all(
            conforms(v, schema["properties"][k]) for k, v in value.items()
        )
    return not (isinstance(value, list) and "items" in schema) or all(conforms(v, schema["items"]) for v in value)


def described(answer, path, method="get", status="200"):
    """The JSON of an answer, which must be as described."""
    assert answer.status == int(status), answer.body
    responses = openapi()["paths"][path][method]["responses"]
    assert conforms(answer.json, responses[status]["content"]["application/json"]["schema"]), (path, answer.json)
    return answer.json


def test_the_description_is_of_the_routes():
    paths = {
        (re.sub(r"<(?:[^:<>]*:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in Api.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert paths == {(path, method) for path, item in openapi()["paths"].items() for method in item}


@pytest_twisted.ensureDeferred
async def test_questions_and_orders(zm):
    service = zm.service("[zmnext.pipeline]\ndetect = false")
    at = f"{zm.directory}/run/api.sock"
    bodies, logged = [], []
    globalLogPublisher.addObserver(logged.append)

    async def get(path, route, method="get", status="200"):
        answer = await ask(at, path, method.upper())
        bodies.append(answer.body)
        return described(answer, route, method, status)

    async def error(path, method="GET"):
        answer = await ask(at, path, method)
        bodies.append(answer.body)
        assert conforms(answer.json, openapi()["components"]["schemas"]["Error"])
        return answer.status, answer.code

    service.startService()
    stream = None
    try:
        await until(lambda: zm.told_of(EventClosed))
        stream = await deferToThread(_stream, at)
        await until(lambda: service.fleet.status()[0].state is State.LIVE)
        status = await get("/api/status", "/api/status")
        assert (status["state"], status["monitors"]["by_state"]) == ("RUNNING", {"STOPPED": 1, "LIVE": 1})
        monitors = await get("/api/monitors", "/api/monitors")
        assert [(one["id"], one["state"]) for one in monitors["monitors"]] == [(1, "LIVE"), (2, "STOPPED")]
        assert [(one["id"], one["reason"]) for one in monitors["elsewhere"]] == [(3, "Function is None")]

        one = await get("/api/monitors/1", "/api/monitors/{monitor_id}")
        assert one["pid"] and one["events_closed"] >= 1 and one["last_event"]["id"] >= 1
        assert any("rtsp://***@127.0.0.1/yard" in line for line in one["log"])
        assert (await get("/api/monitors/2/why", "/api/monitors/{monitor_id}/why"))["what"].startswith("refused: ")
        assert (await get("/api/monitors/3/why", "/api/monitors/{monitor_id}/why"))["state"] is None
        assert await error("/api/monitors/3") == (409, "not_on_zm_next")
        assert await error("/api/monitors/9/why") == (404, "no_such_monitor")
        assert await error("/api/monitors/9/stop", "POST") == (404, "no_such_monitor")
        assert await error("/api/monitors/1/dance", "POST") == (404, "not_found")
        assert await error("/api/monitors/1/stop") == (405, "method_not_allowed")
        assert await error("/api/monitors/2/pipeline") == (409, "no_document")
        assert await error("/api/events?monitor=x") == (400, "bad_request")
        assert await error("/api/events?since=yesterday") == (400, "bad_request")
        for moment in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"):
            assert await error(f"/api/events?since={moment}") == (400, "bad_request")

        document = await get("/api/monitors/1/pipeline", "/api/monitors/{monitor_id}/pipeline")
        assert document["running_digest"] == document["digest"]
        assert document["document"]["plugins"][0]["cfg"]["streams"][0]["url"] == "rtsp://***@127.0.0.1/yard"
        assert (await get("/api/monitors/1/pipeline?diff=1", "/api/monitors/{monitor_id}/pipeline"))["same"]
        zm.execute("UPDATE Monitors SET Path = ? WHERE Id = 1", f"rtsp://bob:{QUOTED}more@127.0.0.1/yard")
        change = await get("/api/monitors/1/pipeline?diff=1", "/api/monitors/{monitor_id}/pipeline")
        assert (change["same"], change["diff"], change["note"]) == (
            False,
            [],
            "only secrets, or the order of keys, differ",
        )
        zm.execute("UPDATE Monitors SET SectionLength = 3 WHERE Id = 1")
        change = await get("/api/monitors/1/pipeline?diff=1", "/api/monitors/{monitor_id}/pipeline")
        assert [(line[0], line[1:].strip()) for line in change["diff"] if "max_secs" in line] == [
            ("-", '"max_secs": 2,'),
            ("+", '"max_secs": 3,'),
        ]

        events = (await get("/api/events?monitor=1&limit=2", "/api/events"))["events"]
        newest = events[0]["id"]
        assert [e["id"] for e in events] == sorted((e["id"] for e in events), reverse=True)
        assert (await get(f"/api/events?since={newest + 100}", "/api/events"))["events"] == []
        assert (await get("/api/events?since=2001-01-01T00:00:00", "/api/events"))["events"] != []

        held = await get("/api/monitors/1/hold", "/api/monitors/{monitor_id}/{verb}", "post")
        assert held["state"] in ("STOPPING", "HELD")
        await until(lambda: service.fleet.status()[0].state is State.HELD)
        assert "release" in (await get("/api/monitors/1/why", "/api/monitors/{monitor_id}/why"))["do"]
        await get("/api/monitors/1/release", "/api/monitors/{monitor_id}/{verb}", "post")
        await until(lambda: service.fleet.status()[0].state is State.LIVE)
        pid = service.fleet.status()[0].pid
        await get("/api/monitors/1/restart", "/api/monitors/{monitor_id}/{verb}", "post")
        await until(lambda: service.fleet.status()[0].state is State.LIVE and service.fleet.status()[0].pid != pid)
        zm.execute("UPDATE Monitors SET Function = 'Record', Type = 'File', Path = 'sim:x' WHERE Id = 3")
        assert (await get("/api/reconcile", "/api/reconcile", "post"))["monitors"] == 3
        assert (await get("/api/monitors/3/reload", "/api/monitors/{monitor_id}/{verb}", "post"))["id"] == 3

        metrics = await ask(at, "/metrics")
        bodies.append(metrics.body)
        samples = {
            (s.name, *sorted(s.labels.values())): s.value
            for family in text_string_to_metric_families(metrics.body.decode())
            for s in family.samples
        }
        assert samples["zmnext_monitor_state", "1", "LIVE"] == 1
        assert samples["zmnext_monitor_state", "1", "HELD"] == 0
        assert samples["zmnext_monitor_events_closed_total", "1"] >= 1
        assert samples["zmnext_monitor_recorded_frames_total", "1"] > 5
        assert samples["zmnext_assign_seconds_count",] >= 1
        assert samples["zmnext_commit_seconds_bucket", "+Inf"] == samples["zmnext_commit_seconds_count",]
        assert samples["zmnext_ingest_changes_total",] >= 2
        assert samples["zmnext_ingest_dropped_total", "refused"] == 0
        bodies += [Path(f"/proc/{told.pid}/cmdline").read_bytes() for told in service.fleet.status() if told.pid]
        bodies += [Path(f"/proc/{told.pid}/environ").read_bytes() for told in service.fleet.status() if told.pid]
    finally:
        await service.stopService()
        globalLogPublisher.removeObserver(logged.append)
    bodies.append(await deferToThread(_rest, stream))
    assert b"event: transition" in bodies[-1] and b"event: event_closed" in bodies[-1]
    bodies += [
        file.read_bytes() for name in ("run", "state") for file in (zm.directory / name).rglob("*") if file.is_file()
    ]
    bodies += [f"{formatEvent(event)} {event}".encode() for event in logged]
    assert len(logged) > 10
    for body in bodies:
        assert b"hush" not in body
        assert QUOTED.encode() not in body


def _stream(path):
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(10)
    stream.connect(path)
    stream.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
    stream.recv(4096)
    return stream


def _rest(stream):
    """All that a stream still has to say; the service has ended it."""
    with stream:
        return b"".join(iter(lambda: stream.recv(65536), b""))


@pytest_twisted.ensureDeferred
async def test_over_tcp_with_the_token_while_streams_idle(zm):
    port = free_port()
    service = zm.service(
        f'[zmnext.pipeline]\ndetect = false\n[api]\nweb = "tcp:{port}:interface=127.0.0.1"',
        tuning={"ZM_CORE_SIM": "fps=10"},
    )
    service.startService()
    streams = []
    try:
        await until(lambda: zm.told_of(EventOpened))
        token = (zm.directory / "state" / "api.token").read_text().strip()
        at, bearer = ("127.0.0.1", port), {"Authorization": f"Bearer {token}"}
        assert (await ask(at, "/api/monitors")).status == 401
        assert described(await ask(at, "/api/monitors", **bearer), "/api/monitors")["monitors"][0]["id"] == 1
        streams = await deferToThread(_idle_streams, port, token, 200)
        await until(lambda: len(service.api.api._streams) == 200)
        closed = len(zm.told_of(EventClosed))
        await until(lambda: len(zm.told_of(EventClosed)) > closed)
        status = described(await ask(at, "/api/status", **bearer), "/api/status")
        assert status["reactor_lag_seconds"]["longest_of_last_minute"] < 1
        assert service.fleet.status()[0].missed_events == 0
    finally:
        for stream in streams:
            stream.close()
        await service.stopService()


def _idle_streams(port, token, count):
    made = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(f"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        made.append(stream)
    return made
