"""How the worker says its camera fares: capture failures and restorations, and each stream's connection, with times. Pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from zmtwist.wire.event_details import EVENT_SNAPSHOT, Lifecycle, StreamState
from zmtwist.wire.messages import Event

EVENT_STATE_CHANGED = 0x0201
MAX_STREAMS = 16

_STAGES = {
    0x0101: ("connection", True),
    0x0102: ("connection", False),
    0x0103: ("prime capture", True),
    0x0104: ("prime capture", False),
    0x0105: ("capture", True),
    0x0106: ("capture", False),
}
"""By code: what it is about, and whether it failed (or is restored)."""

_TYPES = {
    "connection_failed": 0x0101,
    "connection_restored": 0x0102,
    "prime_capture_failed": 0x0103,
    "prime_capture_restored": 0x0104,
    "capture_failed": 0x0105,
    "capture_resumed": 0x0106,
    "capture_restored": 0x0106,
}
_STREAM_STATES = {
    "StreamConnected": "connected",
    "StreamReconnecting": "reconnecting",
    "StreamDisconnected": "disconnected",
}


class CameraTrouble(msgspec.Struct, frozen=True):
    """Something that failed and is not restored: `connection`, `prime capture` or `capture`. `message` is the worker's."""

    what: str
    since_us: int
    message: str = ""


class StreamHealth(msgspec.Struct, frozen=True):
    """One stream of the camera: `connected`, `reconnecting` or `disconnected`, since when, and the worker's words."""

    stream_id: int
    state: str
    since_us: int
    message: str = ""
    attempt: int | None = None


class Health(msgspec.Struct, frozen=True):
    """All that a worker has said of its camera's health, in wall times (0: never). An RTSP camera's worker speaks of its streams only.

    `failures` counts what failed since the service was started; `restored_us` is when something last came right again; `state` is the
    capture state that the worker last named.
    """

    troubles: tuple[CameraTrouble, ...] = ()
    streams: tuple[StreamHealth, ...] = ()
    failures: int = 0
    failed_us: int = 0
    restored_us: int = 0
    state: str = ""
    state_us: int = 0

    @property
    def well(self) -> bool:
        """Nothing has failed that is not restored, and no stream is away."""
        return not self.troubles and all(stream.state == "connected" for stream in self.streams)

    def told(self, event: Event, at_us: int) -> Health:
        """After `event`; the same object where it says nothing of health."""
        detail = event.detail
        if isinstance(detail, StreamState):
            return self._stream(detail, at_us)
        if event.code == EVENT_STATE_CHANGED:
            name = event.state_name or ("" if event.state is None else str(event.state))
            return replace(self, state=name, state_us=at_us) if name else self
        code = event.code
        if code == EVENT_SNAPSHOT:  # the last of the others, to whoever comes later
            kind = detail.type if isinstance(detail, Lifecycle) else ""
            code = _TYPES.get(kind, event.health or 0)
        if code not in _STAGES:
            return self
        what, failed = _STAGES[code]
        said = detail.message if isinstance(detail, Lifecycle) else event.message
        message = said or ""
        known = next((trouble for trouble in self.troubles if trouble.what == what), None)
        others = tuple(trouble for trouble in self.troubles if trouble.what != what)
        if not failed:
            return replace(self, troubles=others, restored_us=at_us)
        if known is not None:  # still the same trouble
            return replace(self, troubles=(*others, replace(known, message=message)), failed_us=at_us)
        troubles = (*others, CameraTrouble(what, at_us, message))
        return replace(self, troubles=troubles, failures=self.failures + 1, failed_us=at_us)

    def _stream(self, said: StreamState, at_us: int) -> Health:
        state = _STREAM_STATES[said.event]
        known = next((stream for stream in self.streams if stream.stream_id == said.stream_id), None)
        since = known.since_us if known is not None and known.state == state else at_us
        now = StreamHealth(said.stream_id, state, since, said.message or said.error or "", said.attempt)
        others = [stream for stream in self.streams if stream.stream_id != said.stream_id]
        streams = tuple(sorted([*others, now], key=lambda stream: stream.stream_id)[:MAX_STREAMS])
        health = replace(self, streams=streams)
        was_up = known is not None and known.state == "connected"
        if state == "connected":
            return health if was_up or known is None else replace(health, restored_us=at_us)
        return replace(health, failures=self.failures + (was_up or known is None), failed_us=at_us)

    def ended(self, at_us: int) -> Health:
        """The worker has gone, and with it all that it said of the present; what happened stays."""
        return replace(self, troubles=(), streams=(), state="", state_us=at_us if self.state else self.state_us)
