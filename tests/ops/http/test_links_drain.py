"""Whatever clients of the API do, workers' sockets are read on: nothing that a worker says is missed, and no camera stops."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from tests.ops.served import ask
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.state import State
from zmtwist.notifications import EventClosed
from zmtwist.ops.http import protocol

STREAM = b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"POST /api/reconcile HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nx"
IDLE, SLOW, HUGE = 200, 40, 20

HOSTILE = (
    "/api/events/..%2f..%2f..%2fetc%2fpasswd/clip",
    "/api/events/1/clip/../../../../etc/passwd",
    "/api/events/1%00/clip",
    "/api/events/-1/clip",
    "/api/events/1e3/clip",
    "/api/events/999999999999999999999/clip",
    "/api/events/1/..%2f..%2fzm.db.jpg",
    "/page/x/..%2f..%2f..%2fetc%2fpasswd",
    "/page/../../../../etc/passwd",
    "//etc/passwd",
    "/api/../../../etc/passwd",
)


def opened(path: str, said: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.send(said)
    return client


@pytest.fixture
def zm(tmp_path: Path) -> Installation:
    made = Installation.make(tmp_path)
    for number in (1, 2):
        made.monitor(number, "Mocord", SectionLength=2)
    return made


@pytest_twisted.ensureDeferred
async def test_idle_slow_and_greedy_clients_hold_up_no_worker(zm: Installation) -> None:
    service = zm.service(tuning={"ZM_CORE_SIM": "light,fps=25,first=0,present=1,period=1,detect_rate=25"})
    api = f"{zm.directory}/run/api.sock"
    clients: list[socket.socket] = []
    service.startService()
    try:
        await until(lambda: service.fleet and [told.state for told in service.fleet.status()] == [State.LIVE] * 2)
        await until(lambda: zm.told_of(EventClosed))
        before = {told.monitor_id: told for told in service.fleet.status()}
        for said, count in ((STREAM, IDLE), (HALF, SLOW)):
            clients += await deferToThread(lambda said=said, count=count: [opened(api, said) for _ in range(count)])
        await until(lambda: len(service.api.api._streams) == IDLE)
        closed = len(zm.told_of(EventClosed))
        body = b"x" * (protocol.MOST_BODY + 1)
        huge = await gatherResults([ask(api, "/api/reconcile", "POST", body) for _ in range(HUGE)])
        assert {answer.status for answer in huge} == {413}
        for path in HOSTILE:
            refused = await ask(api, path)
            assert refused.status in (400, 404), path
            assert b"root:" not in refused.body and b"SQLite" not in refused.body
        await until(lambda: len(zm.told_of(EventClosed)) >= closed + 4)
        # How much that took of the workers' messages depends on how busy the machine is.
        more = {number: told.worker_events + 100 for number, told in before.items()}
        await until(lambda: all(told.worker_events > more[told.monitor_id] for told in service.fleet.status()))
        after = {told.monitor_id: told for told in service.fleet.status()}
        assert (await ask(api, "/api/status")).json["reactor_lag_seconds"]["longest_of_last_minute"] < 1
    finally:
        for client in clients:
            client.close()
        await service.stopService()
    for number, told in after.items():
        # What a worker said before the link to it was there is missed, too.
        was = before[number]
        assert (told.state, told.pid, told.missed_events) == (State.LIVE, was.pid, was.missed_events)
        assert told.worker_events > was.worker_events + 100
    assert all(event["EndDateTime"] is not None for event in zm.events())
