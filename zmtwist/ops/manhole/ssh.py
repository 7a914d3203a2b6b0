"""The SSH side of the manhole: who gets in (public keys only), and the terminal that they get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.conch.checkers import SSHPublicKeyChecker
from twisted.conch.error import ValidPublicKey
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.interfaces import IConchUser, ISession
from twisted.conch.manhole import Manhole
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm, TerminalSession, TerminalUser
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import SSHSession
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from zmtwist.ops.manhole.keys import AuthorizedKeys, fingerprint
from zmtwist.untrusted.redact import mask

LOGIN_SECONDS = 60
ATTEMPTS = 6
MOST_CONNECTIONS = 8

log = Logger()


class Prompt(Manhole):
    """A Python prompt. What it shows passes `mask`; leaving it leaves the service alone."""

    def __init__(self, make_namespace: Callable[[], dict[str, Any]]) -> None:
        leave = _Leave(self)
        super().__init__({**make_namespace(), "exit": leave, "quit": leave})  # type: ignore[no-untyped-call]

    def addOutput(self, data: str, isAsync: bool | None = None) -> None:
        """Show `data`."""
        super().addOutput(mask(data), isAsync)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        """Run one line."""
        try:
            super().lineReceived(line)  # type: ignore[no-untyped-call]
        except SystemExit:
            self.terminal.loseConnection()


class _Leave:
    """`exit` with or without its parentheses, as at Python's own prompt of late."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt

    def __call__(self, *_status: object) -> None:
        self._prompt.terminal.loseConnection()

    def __repr__(self) -> str:
        return "exit() or Ctrl-D leaves; the service goes on"


class Channel(SSHSession):
    """A shell is all there is: commands are `zmnextctl`'s."""

    def request_exec(self, data: bytes) -> int:
        """Refused."""
        return 0


class Terminal(TerminalSession):
    """A prompt, also for those who have no terminal."""

    width, height = 80, 24

    def windowChanged(self, newWindowSize: tuple[int, int, int, int]) -> None:
        """The prompt wraps nothing by itself: nothing has to be done."""


class Realm(TerminalRealm):
    """Gives whoever was let in a terminal with a prompt."""

    def __init__(self, make_namespace: Callable[[], dict[str, Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._make_namespace = make_namespace

    def requestAvatar(self, avatarId: bytes, mind: object, *interfaces: Any) -> Any:
        """One per login."""
        together = Componentized()
        user = TerminalUser(together, avatarId)
        user.channelLookup[b"session"] = Channel
        session: Any = Terminal(together)  # type: ignore[no-untyped-call]
        session.chainedProtocolFactory = lambda: ServerProtocol(Prompt, self._make_namespace)
        together.setComponent(IConchUser, user)
        together.setComponent(ISession, session)
        return IConchUser, user, lambda: log.info("manhole: {user} has left", user=_name(avatarId))


class Checker(SSHPublicKeyChecker):
    """Says of each attempt with a signature which key it was, and whether that is let in."""

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        """See `ICredentialsChecker`."""
        checked: Deferred[bytes] = super().requestAvatarId(credentials)  # type: ignore[no-untyped-call]
        return checked.addCallbacks(self._let_in, self._refused, (credentials,), errbackArgs=(credentials,))

    def _let_in(self, user: bytes, credentials: Any) -> bytes:
        log.info("manhole: {user} is let in by {key}", user=_name(credentials.username), key=_key(credentials))
        return user

    def _refused(self, failure: Failure, credentials: Any) -> Failure:
        if not failure.check(ValidPublicKey):  # which only asks for the signature
            log.warn("manhole: {user} is refused with {key}", user=_name(credentials.username), key=_key(credentials))
        return failure


class Authentication(SSHUserAuthServer):
    """With a bound on what may be tried."""

    attemptsBeforeDisconnect = ATTEMPTS


class ManholeFactory(ConchFactory):
    """Serves prompts to those who have one of `allowed`, up to a number at once. The host has just one key, its own."""

    noisy = False

    def __init__(
        self, reactor: Any, host: Key, allowed: AuthorizedKeys, make_namespace: Callable[[], dict[str, Any]]
    ) -> None:
        self.reactor = reactor
        realm: Any = Realm(make_namespace)
        super().__init__(Portal(realm, [Checker(allowed)]))  # type: ignore[no-untyped-call]
        # Of this instance alone: conch's are shared by all, and their annotations are wrong.
        keys: Any = {host.sshType(): host}
        public: Any = {host.sshType(): host.public()}
        self.privateKeys, self.publicKeys = keys, public
        self.services = {b"ssh-userauth": Authentication, b"ssh-connection": SSHConnection}
        self._transports: set[Transport] = set()

    def buildProtocol(self, addr: Any) -> Any:
        """One more, if there is room."""
        if len(self._transports) >= MOST_CONNECTIONS:
            log.warn("manhole: a connection is refused: there are {count} already", count=MOST_CONNECTIONS)
            return None
        return super().buildProtocol(addr)

    def cut(self) -> None:
        """End all connections."""
        for transport in tuple(self._transports):
            transport.cut()

    def opened(self, transport: Transport) -> None:
        """A connection is there."""
        self._transports.add(transport)

    def closed(self, transport: Transport) -> None:
        """A connection is gone."""
        self._transports.discard(transport)


class Transport(SSHServerTransport):
    """One connection. It has to be logged in soon, whatever it does until then: conch's own bound is ten hours, from its first word on."""

    factory: ManholeFactory

    def connectionMade(self) -> None:
        """Connected."""
        self.factory.opened(self)
        self._late = self.factory.reactor.callLater(LOGIN_SECONDS, self._not_logged_in)
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = None) -> None:
        """Gone."""
        self.factory.closed(self)
        if self._late.active():
            self._late.cancel()
        super().connectionLost(reason)

    def _not_logged_in(self) -> None:
        if not hasattr(
            self, "avatar"
        ):  # which conch sets at the login; by its mere presence it knows who has logged in
            self.cut()

    def cut(self) -> None:
        """End it at once."""
        connection: Any = self.transport
        connection.abortConnection()


ManholeFactory.protocol = Transport


def _name(user: bytes) -> str:
    """Quoted: a client may send anything."""
    return repr(user.decode("utf-8", "replace"))


def _key(credentials: Any) -> str:
    try:
        return fingerprint(Key.fromString(credentials.blob))
    except Exception:
        return "a key that makes no sense"
