"""The control client against a server that is as peculiar as the real one, and the answers read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.fleet.zmc.fake_zmdc import Keeper, Server
from zmtwist.fleet.zmc.zmdc import Condition, Daemon, Listing, NoAnswer, Zmdc, parse_listing, started, stopping

THREE = ("zmc", "-m", "3")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "zmdc.sock", Keeper())
    made.start()
    yield made
    made.end()


def client(server: Server, seconds: float = 5.0) -> Zmdc:
    return Zmdc(reactor, str(server.path), reply_seconds=seconds)


@pytest_twisted.ensureDeferred
async def test_requests_have_no_newline_and_are_answered_one_by_one(server: Server) -> None:
    zmdc = client(server)
    assert started(await zmdc.start(THREE))
    listing = await zmdc.status()
    assert listing == Listing({"zmc -m 3": Daemon(Condition.RUNNING, 500)})
    assert stopping(await zmdc.stop(THREE))
    assert server.keeper.requests == [b"start;zmc;-m;3", b"status", b"stop;zmc;-m;3"]


@pytest_twisted.ensureDeferred
async def test_several_at_once_wait_for_one_another(server: Server) -> None:
    zmdc = client(server)
    asked = [Deferred.fromCoroutine(zmdc.start(("zmc", "-m", str(n)))) for n in range(5)]
    assert all(map(started, await gatherResults(asked)))
    listing = await zmdc.status()
    assert listing is not None
    assert sorted(listing.daemons) == [f"zmc -m {n}" for n in range(5)]


@pytest_twisted.ensureDeferred
async def test_a_late_answer_is_waited_for(server: Server) -> None:
    server.delay = 0.3
    assert await client(server).status() == Listing({})


@pytest_twisted.ensureDeferred
async def test_a_server_that_hangs_is_left_after_a_while(server: Server) -> None:
    server.mute.set()
    with pytest.raises(NoAnswer, match="does not answer") as told:
        await client(server, seconds=0.1).status()
    assert not told.value.absent
    server.mute.clear()
    assert await client(server).status() == Listing({}), "and it was not harmed"


@pytest_twisted.ensureDeferred
async def test_a_connection_that_a_daemon_holds_open_is_left_too(server: Server) -> None:
    server.inherit = True
    assert started(await client(server, seconds=1).start(THREE)), "what was said is enough here"
    with pytest.raises(NoAnswer, match="did not end"):  # but half a list is none
        await client(server, seconds=1).status()


@pytest_twisted.ensureDeferred
async def test_a_question_that_is_cancelled_lets_go_of_the_server(server: Server) -> None:
    server.mute.set()
    zmdc = client(server, seconds=1000)
    asked = Deferred.fromCoroutine(zmdc.status())
    await deferLater(reactor, 0.05)
    asked.addErrback(lambda _: None)
    asked.cancel()
    server.mute.clear()
    assert await Deferred.fromCoroutine(zmdc.status()).addTimeout(60, reactor) == Listing({})


@pytest_twisted.ensureDeferred
async def test_no_socket_and_a_dead_one_mean_that_zoneminder_is_not_running(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sock", tmp_path / "none" / "zmdc.sock", _dead(tmp_path)):
        with pytest.raises(NoAnswer, match=str(path)) as told:
            await Zmdc(reactor, str(path)).status()
        assert told.value.absent, path


@pytest_twisted.ensureDeferred
async def test_a_path_that_can_be_no_sockets_is_no_such_sign() -> None:
    with pytest.raises(NoAnswer, match="107 bytes") as told:
        await Zmdc(reactor, "x" * 200).status()
    assert not told.value.absent


def _dead(directory: Path) -> Path:
    server = Server(directory / "dead.sock", Keeper())
    server._listener.close()
    return server.path


ZMDC_136 = """'zmfilter.pl --filter_id=1 --daemon' running since 26/11/22 14:57:43, pid = 11, valid
'zmc -m 3' running since 26/11/22 14:57:43, pid = 12, valid
'zmc -d /dev/video0' running since 26/11/22 14:57:43, pid = 13
'zmc -m 4' pending at 26/11/22 14:57:50
"""
ZM_API = "'zmc -m 3' running since 26/11/22 14:57:43, pid = 12\n'zmc -m 4' pending\n'zmc -m 5' stopped\n"


def test_a_list_in_either_style() -> None:
    zmdc, api = parse_listing(ZMDC_136), parse_listing(ZM_API)
    assert zmdc is not None
    assert api is not None
    for listing in (zmdc, api):
        assert listing.of("zmc -m 3") == Daemon(Condition.RUNNING, 12)
        assert listing.of("zmc -m 4") == Daemon(Condition.PENDING)
        assert listing.of("zmc -m 5") == Daemon(Condition.STOPPED)
    assert zmdc.of("zmc -d /dev/video0") == Daemon(Condition.RUNNING, 13)


def test_a_process_number_that_can_be_none_is_none() -> None:
    said = f"'zmc -m 3' running since 26/11/22 14:57:43, pid = {'9' * 5000}\n'zmc -m 4' running, pid = 12"
    listing = parse_listing(said)
    assert listing is not None
    assert (listing.of("zmc -m 3"), listing.of("zmc -m 4").pid) == (Daemon(Condition.RUNNING), 12)


@pytest.mark.parametrize(
    ("reply", "condition"),
    [
        ("'zmc -m 3' running since 26/11/22 14:57:49, pid = 28280", Condition.RUNNING),
        ("'zmc -m 3' not running\n", Condition.STOPPED),
        (
            "'zmc -m 3' pending at 26/11/22 14:57:49\n'zmc -m 3' running since 26/11/22 14:57:49, pid = ",
            Condition.PENDING,
        ),
    ],
)
def test_the_status_of_one(reply: str, condition: Condition) -> None:
    listing = parse_listing(reply)
    assert listing is not None
    assert listing.of("zmc -m 3").condition is condition


@pytest.mark.parametrize("reply", ["OK;Status retrieved\n", "ERR;no\n", "Invalid command 'status'\n"])
def test_an_answer_that_lists_nothing_is_not_taken_for_an_empty_list(reply: str) -> None:
    assert parse_listing(reply) is None
    assert parse_listing("") == Listing({})


@pytest.mark.parametrize(
    ("reply", "yes"),
    [
        ("'zmc -m 3' starting at 26/11/22 14:57:43, pid = 1\n", True),
        ("'zmc -m 3' already running at 26/11/22 14:57:43, pid = 1\n", True),
        ("'zmc -m 3' was told to term at 26/11/22 14:57:46, pid = 28249\n", True),
        ("OK;Started zmc -m 3 (PID: Some(7))\n", True),
        ("ERR;Daemon zmc -m 3 is already running\n", True),
        ("ERR;Daemon zmc -m 3 is still stopping\n", False),
        ("", False),
    ],
)
def test_what_start_answers(reply: str, yes: bool) -> None:
    assert started(reply) is yes


@pytest.mark.parametrize(
    ("reply", "yes"),
    [
        ("'zmc -m 3' sending stop to pid 5 at 26/11/22 14:57:43\n", True),
        ("Command 'zmc -m 3' removed from pending list at 26/11/22 14:57:43\n", True),
        ("OK;Sent SIGTERM to zmc -m 3\n", True),
        ("Can't find process with command of 'zmc -m 3'", False),
        ("ERR;Daemon zmc -m 3 not found\n", False),
        ("", False),
    ],
)
def test_what_stop_answers(reply: str, yes: bool) -> None:
    assert stopping(reply) is yes


@given(st.text())
def test_no_answer_is_too_odd_to_read(reply: str) -> Any:
    parse_listing(reply)
    started(reply)
    stopping(reply)
