"""An SSH client in this process, over any endpoint: logs in with a key or a password, and types into a shell."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import packRequest_pty_req, packRequest_window_change
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory

from tests.waiting import until


def new_key() -> Key:
    return Key(Ed25519PrivateKey.generate())


class _Auth(SSHUserAuthClient):
    def __init__(self, client: Client, instance: Any) -> None:
        super().__init__(b"ann", instance)
        self.client = client
        self._offered = False

    def getPublicKey(self) -> Key | None:
        if self.client.key is None or self._offered:
            return None
        self._offered = True
        return self.client.key.public()

    def getPrivateKey(self) -> Deferred[Key]:
        return succeed(self.client.key)

    def getPassword(self, prompt: bytes | None = None) -> None:
        """None is there but for a client that tries it unasked, below."""

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> Any:
        self.client.methods = packet[4:-1].split(b",")
        if self.client.password is not None:
            self.client.tries += 1
            return self.askForAuth(b"password", b"\0" + NS(self.client.password))
        return super().ssh_USERAUTH_FAILURE(packet)


class _Channel(SSHChannel):
    name = b"session"

    def __init__(self, client: Client, **options: Any) -> None:
        super().__init__(**options)
        self.client = client

    def channelOpen(self, _data: Any) -> None:
        self.client.channel = self

    def dataReceived(self, data: bytes) -> None:
        self.client.shown += data

    def closed(self) -> None:
        self.client.closed = True


class _Connection(SSHConnection):
    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self.openChannel(_Channel(self.client, conn=self))


class Client(SSHClientTransport):
    """`shown` is what the terminal got; `lost` says that the connection is gone."""

    def __init__(self, key: Key | None = None, password: bytes | None = None, *, asks_nobody: bool = False) -> None:
        self.key, self.password, self.asks_nobody = key, password, asks_nobody
        self.host_key = b""
        self.methods: list[bytes] = []
        self.tries = 0
        self.channel: _Channel | None = None
        self.shown = b""
        self.closed = self.lost = False

    def verifyHostKey(self, host_key: bytes, _fingerprint: bytes) -> Deferred[int]:
        self.host_key = host_key
        return succeed(1)

    def connectionSecure(self) -> None:
        self.requestService(_Connection(self) if self.asks_nobody else _Auth(self, _Connection(self)))

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self.lost = True

    @classmethod
    async def to(cls, endpoint: str, key: Key | None = None, password: bytes | None = None, **more: bool) -> Client:
        """Connected; whether it gets in is seen later."""
        client = cls(key, password, **more)
        await clientFromString(reactor, endpoint).connect(Factory.forProtocol(lambda: client))
        return client

    async def shell(self, *, terminal: bool = True) -> Client:
        channel = await until(lambda: self.channel)
        if terminal:
            wanted = packRequest_pty_req(b"xterm", (40, 200, 0, 0), b"")
            await channel.conn.sendRequest(channel, b"pty-req", wanted, wantReply=True)
            await channel.conn.sendRequest(channel, b"shell", b"", wantReply=True)
            channel.conn.sendRequest(channel, b"window-change", packRequest_window_change((20, 80, 0, 0)))
        else:
            await channel.conn.sendRequest(channel, b"shell", b"", wantReply=True)
        await until(lambda: b">>> " in self.shown)
        return self

    async def command(self, text: bytes) -> None:
        channel = await until(lambda: self.channel)
        await channel.conn.sendRequest(channel, b"exec", NS(text), wantReply=True)

    async def type(self, line: bytes, expected: bytes) -> bytes:
        """Type a line, wait until `expected` is shown after it; all that is shown from then on up to the next prompt."""
        assert self.channel is not None
        self.shown = b""
        self.channel.write(line + b"\r")
        await until(lambda: expected in self.shown and self.shown.endswith(b">>> "))
        return self.shown

    def leave(self) -> None:
        self.loseConnection()
