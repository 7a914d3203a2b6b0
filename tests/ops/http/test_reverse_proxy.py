"""Who sends a request and to which origin, by what proxies tell; and the doors behind one, over real sockets."""

from __future__ import annotations

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.served import Served, ask
from zmtwist.config.toml import ConfigError, parse
from zmtwist.ops.http.reverse_proxy import Proxies, Sender, below, place_of

PROXY = Sender("10.0.0.1", "127.0.0.1:8095")
PROXIES = Proxies(["10.0.0.0/8", "2001:db8::1", "::ffff:172.16.0.9"])


@pytest.mark.parametrize(
    ("told", "sender"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7"], "192.0.2.7"),  # what the client itself wrote stands first
        (["198.51.100.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["2001:db8::7, 2001:db8::1"], "2001:db8::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["unknown"], "10.0.0.1"),
        (["192.0.2.7, _hidden"], "10.0.0.1"),
        (["fe80::1%\r\nSet-Cookie: x"], "10.0.0.1"),
        (["10.9.9.9, 10.8.8.8"], "10.9.9.9"),
        ([""], "10.0.0.1"),
        (["," * 5000 + "192.0.2.7"], "192.0.2.7"),
    ],
)
def test_the_sender_is_the_last_one_that_is_no_proxy_of_ours(told: list[str], sender: str) -> None:
    assert PROXIES.sender(PROXY, told).address == sender


def test_the_origin_is_what_the_nearest_proxy_tells() -> None:
    def origin(proto: list[str], host: list[str]) -> tuple[str | None, bool]:
        sender = PROXIES.sender(PROXY, ["192.0.2.7"], proto, host)
        return sender.host, sender.secure

    assert origin(["https"], ["zm.example"]) == ("zm.example", True)
    assert origin(["http, https"], ["evil.example, zm.example"]) == ("zm.example", True)
    assert origin(["https", "http"], ["evil.example", "zm.example"]) == ("zm.example", False)
    assert origin([], []) == ("127.0.0.1:8095", False)
    assert origin(["gopher"], []) == ("127.0.0.1:8095", False)


LINES = st.lists(st.text())


@given(LINES, LINES, LINES, st.sampled_from(["192.0.2.7", "::1", None, "11.0.0.1"]))
def test_nobody_else_is_heeded(for_: list[str], proto: list[str], host: list[str], address: str | None) -> None:
    peer = Sender(address, "localhost", secure=False)
    assert PROXIES.sender(peer, for_, proto, host) == peer
    assert Proxies().sender(PROXY, for_, proto, host) == PROXY


@given(LINES, LINES, LINES)
def test_no_header_makes_an_address_that_is_none(for_: list[str], proto: list[str], host: list[str]) -> None:
    sender = PROXIES.sender(PROXY, for_, proto, host)
    assert sender.address is not None
    assert place_of(sender.address) != ""
    assert sender.address.isprintable()


def test_sockets_are_proxies_where_that_is_said() -> None:
    peer = Sender(None, "localhost")
    assert Proxies(["unix"]).sender(peer, ["192.0.2.7"]).address == "192.0.2.7"
    assert Proxies(["127.0.0.1"]).sender(peer, ["192.0.2.7"]) == peer


def test_what_stands_for_a_client() -> None:
    assert place_of("192.0.2.7") == place_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert place_of("2001:db8::7") == place_of("2001:db8::abcd:7") == "2001:db8::/64"
    assert place_of("2001:db8:0:1::7") != place_of("2001:db8::7")
    assert place_of("somebody") == "somebody"


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        (b"/zmnext/api/status", b"/api/status"),
        (b"/api/status", b"/api/status"),
        (b"/zmnext/", b"/"),
        (b"/zmnext", None),
        (b"/zmnextapi/status", b"/zmnextapi/status"),
        (b"/zmnext//etc", b"//etc"),
        (b"/", b"/"),
    ],
)
def test_a_path_below_the_base(path: bytes, ours: bytes | None) -> None:
    assert below("/zmnext", path) == ours
    assert below("", path) == path


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("base_path", '"zmnext"', "must be a path such as"),
        ("base_path", '"/"', "must be a path such as"),
        ("base_path", '"//evil.example"', "must be a path such as"),
        ("base_path", '"/a/../b"', "must be a path such as"),
        ("base_path", '"/a b"', "must be a path such as"),
        ("base_path", '"/api"', "one of our own paths"),
        ("base_path", '"/page/x"', "one of our own paths"),
        ("trusted_proxies", '["localhost"]', "must be addresses"),
        ("trusted_proxies", '["10.0.0.0/33"]', "must be addresses"),
        ("trusted_proxies", '["*"]', "must be addresses"),
    ],
)
def test_settings_that_make_no_sense(key: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"api\.{key}.*{problem}"):
        parse(f"[api]\n{key} = {value}")


def test_settings_that_do() -> None:
    api = parse('[api]\nbase_path = "/cams/zm-next/"\ntrusted_proxies = ["10.1.2.3/8", "::1", "unix"]').api
    assert (api.base_path, len(api.trusted_proxies)) == ("/cams/zm-next/", 3)


OURS = {"X-Forwarded-Host": "zm.example:8443", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
ORIGIN = {"Origin": "https://zm.example:8443"}


@pytest_twisted.ensureDeferred
async def test_orders_through_a_trusted_proxy_and_no_other(tmp_path):
    extra = 'hosts = ["zm.example"]\nbase_path = "/zmnext/"\ntrusted_proxies = ["127.0.0.1"]'
    served = await Served.on(tmp_path, web=True, extra=extra)
    path, good = "/zmnext/api/monitors/1/restart", {**served.bearer, **OURS}

    async def order(*, path: str = path, **headers: str) -> tuple[int, str]:
        answer = await ask(served.tcp, path, "POST", **headers)
        return answer.status, answer.code

    try:
        # Past the door: there is no fleet behind it here.
        let_in = (503, "not_running")
        assert await order(**good, **ORIGIN) == let_in
        assert await order(**good, **ORIGIN, path="/api/monitors/1/restart") == let_in
        assert await order(**good) == let_in
        foreign = (403, "foreign_origin")
        for origin in ("https://evil.example", "http://zm.example:8443", "https://zm.example", "null"):
            assert await order(**good, Origin=origin) == foreign
        assert await order(**{**good, "X-Forwarded-Proto": "http"}, **ORIGIN) == foreign
        # A foreign name that leads to the proxy.
        evil = {**good, "X-Forwarded-Host": "evil.example"}
        assert await order(**evil, Origin="https://evil.example") == (403, "wrong_host")
        # Whatever a client has sent by itself, and what no proxy sets.
        smuggled = {**good, "X-Forwarded-Host": "evil.example, zm.example:8443"}
        assert await order(**smuggled, Origin="https://evil.example") == foreign
        assert await order(**good, Origin="https://evil.example", Forwarded="host=evil.example;proto=https") == foreign
        assert await order(**{**good, "Authorization": "Bearer x"}, **ORIGIN) == (401, "unauthorized")
    finally:
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_what_others_say_of_proxies_is_not_heeded(tmp_path):
    extra = 'hosts = ["zm.example"]\ntrusted_proxies = ["192.0.2.99"]'
    served = await Served.on(tmp_path, web=True, extra=extra)
    try:
        for headers in (OURS, {**OURS, "Host": "127.0.0.1"}, {"Forwarded": "host=zm.example;proto=https"}):
            answer = await ask(served.tcp, "/api/reconcile", "POST", **served.bearer, **ORIGIN, **headers)
            assert (answer.status, answer.code) == (403, "foreign_origin")
        answer = await ask(served.tcp, "/api/status", **served.bearer, **{**OURS, "Host": "evil.example"})
        assert (answer.status, answer.code) == (403, "wrong_host")
    finally:
        await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_below_a_base_path(tmp_path):
    served = await Served.on(tmp_path, web=True, extra='base_path = "/zmnext"')
    try:
        for path in ("/zmnext/", "/"):
            assert b"<title>zmtwist" in (await ask(served.tcp, path)).body
        moved = await ask(served.tcp, "/zmnext")
        assert (moved.status, moved.headers["location"]) == (308, "zmnext/")
        described = (await ask(served.tcp, "/zmnext/api/openapi.json", **served.bearer)).json
        assert described["servers"] == [{"url": "/zmnext"}]
        ticket = (await ask(served.path, "/api/events/7/ticket")).json["url"]
        assert ticket.startswith("/zmnext/api/events/7/clip?ticket=")
        for path in (ticket, ticket.removeprefix("/zmnext")):
            assert (await ask(served.tcp, path)).status != 401  # both ways lead to the same door, with the same ticket
        assert (await ask(served.tcp, ticket + "x")).status == 401
        assert (await ask(served.tcp, "/zmnext/zmnext/")).status == 401
        assert (await ask(served.tcp, "/zmnext/api/status")).status == 401
    finally:
        await served.service.stopService()
