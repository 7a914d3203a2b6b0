"""What a worker says over its socket, through its monitor's guard: every text of every message, before anybody else hears it.

Which fields hold text is read off the types, so that none can be forgotten. Texts are one line each, as short as rows need them. What
serves to know something again (a clip's token, a file's path) stays as it is, or goes altogether.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, get_args

import attrs
import msgspec
from msgspec.structs import replace
from zope.interface import implementer

from zmtwist.interfaces import ILinkSink
from zmtwist.untrusted.guard import LINE, MESSAGE, NAME, PATH, Guard
from zmtwist.wire.event_details import Detail, RawDetail, RecordingOpening
from zmtwist.wire.messages import Event, Hello, Response

WORDS = frozenset({"text", "prompt", "reason"})
"""Fields that hold sentences; any other text is a name of something."""

KEYS = {"clip_token": NAME, "path_base": NAME, "path": PATH, "clip_path": PATH}
"""Fields by which something is known, and how long they may be."""

TRIGGERS = frozenset(
    {"continuous", "motion", "zone_motion", "detection", "tracked_detection", "audio_event", "lpr", "face"}
)
"""The worker's own words stay what they are, even where one of them is a camera's password."""

Guarding = Callable[[Guard, Any], Any]


@implementer(ILinkSink)
@attrs.frozen
class GuardedSink:
    """What one worker says, guarded on its way to `sink`."""

    sink: ILinkSink
    guard: Guard

    def hello(self, monitor_id: int, hello: Hello) -> None:
        """See `ILinkSink`; it holds no text."""
        self.sink.hello(monitor_id, hello)

    def event(self, monitor_id: int, event: Event, at_us: int) -> None:
        """See `ILinkSink`."""
        self.sink.event(monitor_id, guarded_event(event, self.guard), at_us)

    def rate(self, monitor_id: int, frames_per_second: float, bytes_per_second: float) -> None:
        """See `ILinkSink`."""
        self.sink.rate(monitor_id, frames_per_second, bytes_per_second)

    def gap(self, monitor_id: int, missed: int) -> None:
        """See `ILinkSink`."""
        self.sink.gap(monitor_id, missed)


def guarded_event(event: Event, guard: Guard) -> Event:
    """`event`, or one like it, all of whose texts have passed `guard`."""
    changes: dict[str, Any] = {}
    if event.detail is not None:
        detail = guarded_detail(event.detail, guard)
        if detail is not event.detail:
            changes["detail"] = detail
    if event.message:
        changes["message"] = guard.text(event.message, MESSAGE)
    if event.state_name:
        changes["state_name"] = guard.text(event.state_name, NAME)
    return replace(event, **changes) if changes else event


def guarded_response(response: Response, guard: Guard) -> Response:
    """A worker's answer to a command, guarded."""
    return replace(response, message=guard.text(response.message, MESSAGE), data=guard.text(response.data, MESSAGE))


def guarded_detail(detail: Detail, guard: Guard) -> Detail | None:
    """`detail`, or one like it; None for one that is of no use without what had to go. What is not known keeps its kind only."""
    if isinstance(detail, RawDetail):
        return RawDetail(guard.text(detail.kind, NAME))
    guarded: Detail = _guarded(guard, detail)
    return None if isinstance(guarded, RecordingOpening) and not guarded.clip_token else guarded


def _guarded(guard: Guard, struct: Any) -> Any:
    changes = {}
    for name, guarding in _plan(struct.__class__):
        if value := getattr(struct, name):
            now = guarding(guard, value)
            if now is not value and now != value:
                changes[name] = now
    return replace(struct, **changes) if changes else struct


@cache
def _plan(kind: type) -> tuple[tuple[str, Guarding], ...]:
    """The fields of a message's type that may hold text, and what is done with each."""
    fields = ((field.name, _guarding(field.name, field.type)) for field in msgspec.structs.fields(kind))
    return tuple((name, guarding) for name, guarding in fields if guarding is not None)


def _guarding(name: str, kind: Any) -> Guarding | None:
    kinds = {kind, *get_args(kind)}
    if Any in kinds:
        return Guard.value
    if any(isinstance(one, type) and issubclass(one, msgspec.Struct) for one in kinds):
        return _structs
    if str not in kinds:
        return None
    if name in KEYS:
        optional = type(None) in kinds
        return lambda guard, said: guard.name(said, KEYS[name]) or (None if optional else "")
    if name in ("trigger", "cause"):
        return guarded_trigger
    most = LINE if name in WORDS else MESSAGE if name in ("message", "error") else NAME
    return lambda guard, said: guard.text(said, most) if isinstance(said, str) else said


def _structs(guard: Guard, structs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([_guarded(guard, struct) for struct in structs])


def guarded_trigger(guard: Guard, said: str) -> str:
    """What began a clip, in the worker's words."""
    return said if said in TRIGGERS else guard.text(said, NAME)
