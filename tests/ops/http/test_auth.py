from __future__ import annotations

import os
import socket

import attrs
import pytest

from zmtwist.ops.http.auth import Asked, Peer, PeerGuard, TokenGuard, peer
from zmtwist.ops.http.errors import ApiError

TOKEN = "correct-horse-battery-staple"
GUARD = TokenGuard(TOKEN, ["NVR.lan"])
GOOD = Asked("GET", "127.0.0.1:8095", None, f"Bearer {TOKEN}")


def refused(guard, *asked):
    with pytest.raises(ApiError) as caught:
        guard.check(*asked)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8095", "[::1]:8095", "localhost:8095", "nvr.lan", "NVR.LAN:80", "192.0.2.7:8095"]
)
def test_our_own_names(host):
    GUARD.check(attrs.evolve(GOOD, host=host, origin=f"http://{host}"))


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "a b"]
)
def test_foreign_names(host):
    assert refused(GUARD, attrs.evolve(GOOD, host=host)) == (403, "wrong_host")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://127.0.0.1:9999",
        "https://127.0.0.1:8095",
        "",
        "http://127.0.0.1:8095, http://evil.example",
    ],
)
def test_foreign_pages(origin):
    assert refused(GUARD, attrs.evolve(GOOD, origin=origin)) == (403, "foreign_origin")


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer ü"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_no_token_no_answer(authorization, method):
    assert refused(GUARD, attrs.evolve(GOOD, method=method, authorization=authorization)) == (401, "unauthorized")


def test_the_token_shows_nowhere():
    assert TOKEN not in repr(GUARD)


def test_who_may_change_anything_by_the_socket():
    guard, look, change = PeerGuard(uid=33, gid=44), attrs.evolve(GOOD), attrs.evolve(GOOD, method="POST")
    for welcome in (Peer(1, 0, frozenset()), Peer(1, 33, frozenset()), Peer(1, 1000, frozenset({7, 44}))):
        guard.check(change, welcome)
    stranger = Peer(1, 1000, frozenset({1000}))
    guard.check(look, stranger)
    guard.check(look, None)
    assert refused(guard, change, stranger) == (403, "forbidden")
    assert refused(guard, change, None) == (403, "forbidden")
    assert refused(PeerGuard(33, None), change, stranger) == (403, "forbidden")


def test_the_kernel_tells_who_is_there():
    here, there = socket.socketpair()
    with here, there:
        who = peer(here)
        assert (who.pid, who.uid) == (os.getpid(), os.geteuid())
        assert who.gids >= {os.getegid(), *os.getgroups()}
