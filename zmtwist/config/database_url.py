"""Which database: the contract's URL, or what ZoneMinder's zm.conf says, as one value that never shows its password.

Every error here says what is wrong without quoting the URL: a password with a raw `/` or `@` makes its pieces look like anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import attrs

from zmtwist.untrusted.integers import whole

MYSQL_PORT = 3306

_OPTIONS = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_verify")
_FALSE = frozenset({"0", "false", "no", "off"})
_ENCODE = "percent-encode @ : / ? # % in user and password"


@attrs.frozen
class DatabaseUrl:
    """Where the database is. `str` and `repr` leave the password out.

    For mysql: `unix_socket` takes the place of host and port where given; TLS is used only with `ssl_ca`; `ssl_verify` None leaves the
    check of the server's name to the driver. For sqlite only `path` counts.
    """

    scheme: Literal["mysql", "sqlite"]
    host: str = "localhost"
    port: int = MYSQL_PORT
    name: str = ""
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    unix_socket: str | None = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_verify: bool | None = None
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "sqlite":
            return f"sqlite:///{self.path}"
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        if self.unix_socket is not None:
            return f"mysql://{user}localhost/{self.name}?unix_socket={self.unix_socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mysql://{user}{host}:{self.port}/{self.name}"


def parse_url(text: str) -> DatabaseUrl:
    """`mysql://user:password@host:port/name?unix_socket=...` or `sqlite:///path` (`sqlite:////absolute`). Raises `ValueError`."""
    scheme = text.partition("://")[0].lower()
    if scheme == "sqlite":
        return _sqlite(text)
    if scheme != "mysql":
        raise ValueError("must begin with mysql:// or sqlite:///")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        # Their messages quote the URL's pieces, and a piece may be the password's.
        raise ValueError(f"host and port make no sense; {_ENCODE}") from None
    name = unquote(parts.path.removeprefix("/"))
    if "@" in parts.path or parts.fragment or "@" in parts.query.partition("=")[0]:
        raise ValueError(f"user and password are not told apart from the rest; {_ENCODE}")
    if not name or "/" in name:
        raise ValueError("needs the database's name and nothing more after the host, as in mysql://user@host/zm")
    options = _options(parts.query)
    if not host and "unix_socket" not in options:
        raise ValueError("needs a host, as in mysql://user@host/zm")
    verify = options.pop("ssl_verify", None)
    return DatabaseUrl(
        scheme="mysql",
        host=host or "localhost",
        port=MYSQL_PORT if port is None else port,
        name=name,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        ssl_verify=None if verify is None else verify.lower() not in _FALSE,
        **options,
    )


def _sqlite(text: str) -> DatabaseUrl:
    path = unquote(text[len("sqlite:///") :]) if text.lower().startswith("sqlite:///") else ""
    if not path:
        raise ValueError("needs a path: sqlite:///relative/file.db or sqlite:////absolute/file.db")
    return DatabaseUrl(scheme="sqlite", host="", port=0, path=path)


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _OPTIONS:
            raise ValueError(f"has an option that is not known; known are {', '.join(_OPTIONS)}")
        if not value:
            raise ValueError(f"{key} is empty")
        options[key] = value
    return options


def from_zm_conf(conf: Mapping[str, str]) -> DatabaseUrl:
    """The database that zm.conf's ZM_DB_* keys name (doc/reference/zoneminder.md, Configuration files).

    Raises `ValueError` where they name none.
    """
    kind = conf.get("ZM_DB_TYPE") or "mysql"
    if kind.lower() not in {"mysql", "mariadb"}:
        raise ValueError(f'ZM_DB_TYPE is "{kind}": only mysql is known')
    name = conf.get("ZM_DB_NAME", "")
    if not name:
        raise ValueError("zm.conf has no ZM_DB_NAME")
    host, _, rest = (conf.get("ZM_DB_HOST") or "localhost").partition(":")
    socket = rest if rest.startswith("/") else None
    port = rest if rest and socket is None else str(MYSQL_PORT)
    number = whole(port, 5)
    if number is None or not 0 < number < 65536:
        raise ValueError("ZM_DB_HOST: what follows the colon must be a port or the path of a socket")
    ca = conf.get("ZM_DB_SSL_CA_CERT") or None
    verify = conf.get("ZM_DB_SSL_VERIFY_SERVER_CERT", "").lower()
    return DatabaseUrl(
        scheme="mysql",
        host=host or "localhost",
        port=number,
        name=name,
        user=conf.get("ZM_DB_USER", ""),
        password=conf.get("ZM_DB_PASS", ""),
        unix_socket=socket,
        ssl_ca=ca,
        ssl_cert=(conf.get("ZM_DB_SSL_CLIENT_CERT") or None) if ca else None,
        ssl_key=(conf.get("ZM_DB_SSL_CLIENT_KEY") or None) if ca else None,
        ssl_verify=(verify not in _FALSE if verify else None) if ca else None,
    )
