from __future__ import annotations

import attrs
import pytest

from tests.ops.http.test_auth import GOOD, TOKEN, refused
from zmtwist.ops.http.auth import TokenGuard
from zmtwist.ops.http.signed_urls import VALID_SECONDS, Tickets

CLIP = "/api/events/7/clip"


class Clock:
    now = 1_700_000_000_000_000

    def __call__(self):
        return self.now


def test_a_ticket_opens_one_path_for_a_while():
    clock = Clock()
    tickets = Tickets(clock)
    ticket = tickets.issue(CLIP)
    clock.now += (VALID_SECONDS - 1) * 1_000_000
    assert tickets.opens(CLIP, ticket)
    for path in (
        "/api/events/8/clip",
        "/api/events/7/clip/",
        "//api/events/7/clip",
        "/api/events/%37/clip",
        "/api/status",
    ):
        assert not tickets.opens(path, ticket)
    clock.now += 1_000_000
    assert not tickets.opens(CLIP, ticket)


def test_a_ticket_can_not_be_made_or_changed():
    tickets = Tickets(Clock())
    until, _, signature = tickets.issue(CLIP).partition(".")
    later = f"{int(until, 16) + 9:x}"
    for forged in (
        "",
        ".",
        f"{later}.{signature}",
        f"{until}.",
        f"{until}.{signature[:-1]}",
        f"é.{signature}",
        until,
        "z.z",
    ):
        assert not tickets.opens(CLIP, forged)
    assert not Tickets(Clock()).opens(CLIP, tickets.issue(CLIP))
    assert repr(tickets).count("_key") == 0


def test_the_guard_takes_tickets_for_reading_only_and_checks_where_they_come_from():
    tickets = Tickets(Clock())
    guard = TokenGuard(TOKEN, public={"/"}, tickets=tickets)
    asked = attrs.evolve(GOOD, authorization=None, path=CLIP, ticket=tickets.issue(CLIP))
    guard.check(asked)
    guard.check(attrs.evolve(asked, method="HEAD"))
    assert refused(guard, attrs.evolve(asked, method="POST")) == (401, "unauthorized")
    assert refused(guard, attrs.evolve(asked, host="evil.example")) == (403, "wrong_host")
    assert refused(guard, attrs.evolve(asked, origin="http://evil.example")) == (403, "foreign_origin")
    assert refused(guard, attrs.evolve(asked, path="/api/status")) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("path", "method", "welcome"), [("/", "GET", True), ("/", "POST", False), ("/x", "GET", False)]
)
def test_only_the_page_itself_is_public(path, method, welcome):
    guard, asked = TokenGuard(TOKEN, public={"/"}), attrs.evolve(GOOD, authorization=None, path=path, method=method)
    if welcome:
        guard.check(asked)
        assert refused(guard, attrs.evolve(asked, host="evil.example")) == (403, "wrong_host")
    else:
        assert refused(guard, asked) == (401, "unauthorized")
