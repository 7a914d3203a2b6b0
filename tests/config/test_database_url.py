from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.config.database_url import DatabaseUrl, from_zm_conf, parse_url


def mysql(**fields: object) -> DatabaseUrl:
    return DatabaseUrl(**{"scheme": "mysql", "name": "zm", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("mysql://user:pa%40ss@db.example:3307/zm", mysql(host="db.example", port=3307, user="user", password="pa@ss")),
        ("mysql://zm@localhost/zm?unix_socket=/run/my.sock", mysql(user="zm", unix_socket="/run/my.sock")),
        ("mysql:///zm?unix_socket=%2Frun%2Fmy.sock", mysql(unix_socket="/run/my.sock")),
        ("MySQL://[::1]/zm", mysql(host="::1")),
        ("mysql://u:p@w@h/zm", mysql(host="h", user="u", password="p@w")),
        (
            "mysql://h/zm?ssl_ca=/ca&ssl_cert=/c&ssl_key=/k&ssl_verify=no",
            mysql(host="h", ssl_ca="/ca", ssl_cert="/c", ssl_key="/k", ssl_verify=False),
        ),
        ("sqlite:///rel/file.db", DatabaseUrl("sqlite", host="", port=0, path="rel/file.db")),
        ("sqlite:////abs/a%20b.db", DatabaseUrl("sqlite", host="", port=0, path="/abs/a b.db")),
    ],
)
def test_urls(text: str, url: DatabaseUrl) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "postgres://u:hushhush@h/zm",
        "u:hushhush@h/zm",
        "mysql://u:hushhush@h",
        "mysql://u:hushhush@h/",
        "mysql://u:hushhush@h/a/b",
        "mysql://u:hushhush@/zm",
        "mysql://u:hushhush@h:port/zm",
        "mysql://u:hushhush@h:99999/zm",
        "mysql://u:hush/hush@h/zm",
        "mysql://u:12/hush@h",
        "mysql://u:12?hush@h/zm",
        "mysql://u:12#hush@h/zm",
        "mysql://u:hush[hush@h/zm",
        "mysql://u:hush\u2100hush@h/zm",
        "mysql://u:hushhush@h/zm?charset=latin1",
        "mysql://u:hushhush@h/zm?unix_socket=",
        "sqlite://file.db",
        "sqlite:///",
    ],
)
def test_what_cannot_be_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|need|make|option|empty|told") as caught:
        parse_url(text)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text(max_size=60).map("mysql://".__add__) | st.text())
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_url(text).scheme in ("mysql", "sqlite")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (mysql(host="h", user="u:x", password="hushhush"), "mysql://u%3Ax@h:3306/zm"),
        (mysql(user="u", password="hushhush", unix_socket="/s"), "mysql://u@localhost/zm?unix_socket=/s"),
        (mysql(host="::1", password="hushhush"), "mysql://[::1]:3306/zm"),
        (parse_url("sqlite:////abs.db"), "sqlite:////abs.db"),
    ],
)
def test_shown_without_the_password(url: DatabaseUrl, shown: str) -> None:
    assert str(url) == shown
    assert "hushhush" not in repr(url) + f"{url} {url!r}"


@pytest.mark.parametrize(
    ("conf", "url"),
    [
        ({"ZM_DB_NAME": "zm"}, mysql()),
        (
            {
                "ZM_DB_TYPE": "mysql",
                "ZM_DB_HOST": "db",
                "ZM_DB_NAME": "zm",
                "ZM_DB_USER": "zmuser",
                "ZM_DB_PASS": "zm:p@ss",
            },
            mysql(host="db", user="zmuser", password="zm:p@ss"),
        ),
        ({"ZM_DB_HOST": "db:3307", "ZM_DB_NAME": "zm"}, mysql(host="db", port=3307)),
        ({"ZM_DB_HOST": "localhost:/run/my.sock", "ZM_DB_NAME": "zm"}, mysql(unix_socket="/run/my.sock")),
        (
            {"ZM_DB_HOST": "db", "ZM_DB_NAME": "zm", "ZM_DB_SSL_CA_CERT": "", "ZM_DB_SSL_CLIENT_KEY": "/k"},
            mysql(host="db"),
        ),
        (
            {
                "ZM_DB_NAME": "zm",
                "ZM_DB_SSL_CA_CERT": "/ca",
                "ZM_DB_SSL_CLIENT_KEY": "/k",
                "ZM_DB_SSL_CLIENT_CERT": "/c",
                "ZM_DB_SSL_VERIFY_SERVER_CERT": "No",
            },
            mysql(ssl_ca="/ca", ssl_key="/k", ssl_cert="/c", ssl_verify=False),
        ),
        (
            {"ZM_DB_NAME": "zm", "ZM_DB_SSL_CA_CERT": "/ca", "ZM_DB_SSL_VERIFY_SERVER_CERT": "1"},
            mysql(ssl_ca="/ca", ssl_verify=True),
        ),
        ({"ZM_DB_NAME": "zm", "ZM_DB_SSL_CA_CERT": "/ca", "ZM_DB_SSL_VERIFY_SERVER_CERT": ""}, mysql(ssl_ca="/ca")),
    ],
)
def test_zm_conf(conf: dict[str, str], url: DatabaseUrl) -> None:
    assert from_zm_conf(conf) == url


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"ZM_DB_NAME": ""},
        {"ZM_DB_NAME": "zm", "ZM_DB_HOST": "h:x"},
        {"ZM_DB_NAME": "zm", "ZM_DB_HOST": "h:0"},
        {"ZM_DB_NAME": "zm", "ZM_DB_TYPE": "pg"},
    ],
)
def test_zm_conf_without_a_database(conf: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="ZM_DB"):
        from_zm_conf(conf)
