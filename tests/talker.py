"""A worker that says what it likes in every field of every message it can send, in its log and in the files it writes.

It records as any other, so that what it says reaches rows, too. What it says is made of its camera's credentials, spelled in many ways.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote, unquote

import msgspec

from tests.attack.worker import Worker, arguments
from zmtwist.wire.encode import encode_frame, encode_response
from zmtwist.wire.event_details import (
    EVENT_RECORDING_OPENING,
    EVENT_RECORDING_SAVED,
    EVENT_REVIEW_ASSETS,
    LIFECYCLE_CODES,
    Detail,
    Lifecycle,
    RawDetail,
    StreamState,
)
from zmtwist.wire.messages import MessageType, Response, Stream

ENDS_AFTER = 2.0
"""Seconds after which it fails, so that its last lines become the reason."""

FORGED = (
    "\x1b[2J\x1b]0;title\x07\r\n2026-11-28T06:00:00+0000 [forged#critical] a line of its own\u2028and \u202eanother\x00"
)


def sayings(document: str) -> list[str]:
    """The camera's URL and its password, spelled in many ways."""
    url = next(word for word in document.split('"') if "://" in word and "@" in word)
    raw = url.partition("://")[2].partition(":")[2].rpartition("@")[0]
    password = unquote(raw)
    encoded = base64.b64encode(f"bob:{password}".encode()).decode()
    spellings = [
        url,
        password,
        raw,
        quote(raw, safe=""),
        json.dumps(password),
        json.dumps(document[:800]),
        html.escape(password),
        encoded,
        "".join(f"\\x{octet:02x}" for octet in password.encode()),
    ]
    return [f"[{number}] {spelled} {FORGED}" for number, spelled in enumerate(spellings)]


def filled(kind: Any, said: Any) -> Any:
    """A value of this type with `said` wherever a text may be."""
    kinds = (kind, *get_args(kind))
    if Any in kinds:
        return ([said, {said: [said]}, {"label": said}],)
    for one in kinds:
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            made = one(**{field.name: filled(field.type, said) for field in msgspec.structs.fields(one)})
            return made if one is kind else (made,)
    if str in kinds:
        return said
    if tuple[float, float, float, float] in kinds:
        return (1.0, 2.0, 3.0, 4.0)
    return 1


def messages(worker: Worker, said: str) -> Iterator[bytes]:
    """Every message of a worker, with `said` wherever a text may be."""
    for kind in get_args(Detail):
        detail = msgspec.to_builtins(filled(kind, said))
        codes = {"Detection": 0x0301, "Description": 0x0302, "ReviewAssets": EVENT_REVIEW_ASSETS}
        codes |= {"RecordingOpening": EVENT_RECORDING_OPENING, "RecordingSaved": EVENT_RECORDING_SAVED}
        code = codes.get(kind.__name__)
        if kind is RawDetail:
            yield worker.event(0, message=json.dumps({"type": said, said: said}))
        elif kind is Lifecycle:
            for each in (1, *LIFECYCLE_CODES):
                yield worker.event(each, message=json.dumps({**detail, "type": "connection_failed"}))
                yield worker.event(each, message=said)
        elif kind is StreamState:
            for number, event in enumerate(("StreamConnected", "StreamReconnecting", "StreamDisconnected")):
                yield worker.event(0, message=json.dumps({**detail, "event": event, "stream_id": number, "url": said}))
        elif code is None:
            yield worker.event(0, message=json.dumps(detail))
        else:
            yield worker.event(code, detail)
    name = said.encode()
    yield encode_frame(
        MessageType.EVENT, b"\x01\x02" + b"\x06" + len(name).to_bytes(2, "little") + name, stream=Stream.MONITOR
    )
    yield encode_response(Response(request_id=10**9, message=said, data=said))


def lines(said: str) -> None:
    """Lines of its log."""
    for stream in (sys.stdout, sys.stderr):
        for level in ("DEBUG", "INFO", "WARN", "ERROR", "FATAL"):
            print(f"[PLUGIN][{level}] cannot open {said}", file=stream)
        print(f"store: recording_opening token={said.replace(' ', '')} cause={said}", file=stream)
        print(said, file=stream, flush=True)


def files(worker: Worker, said: str) -> None:
    """A finished clip that nobody spoke of, with its sidecar, which is found in time; a manifest."""
    clip = worker.clip_path
    if clip is not None:
        sidecar = {"clip": said, "path": said, "cause": said, "descriptions": [said], "text": said}
        Path(f"{clip}.json").write_text(json.dumps(sidecar))
        manifest = clip.parent / "synopsis" / "manifest.json"
        manifest.parent.mkdir(exist_ok=True)
        manifest.write_text(json.dumps({"type": "review_assets", "tubes": [{"label": said}]}))


def talk(worker: Worker, document: str, seconds: float = ENDS_AFTER) -> None:
    """Say it all, then fail."""
    spelled = sayings(document)

    def refuse(client: Any, told: dict[str, Any]) -> None:
        worker.assign(client, told, Response(told["request_id"], False, spelled[0], spelled[1]))

    worker.answer = refuse
    worker.wait_for_client()
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        said = spelled[number % len(spelled)]
        worker.film(number)
        if number % 3 == 0:
            files(worker, said)
            worker.save(cause=said)
            worker.open(trigger=said)
        for message in messages(worker, said):
            worker.say(message)
        lines(said)
        number += 1
        time.sleep(0.1)
    os._exit(6)


def main() -> None:
    """Run as a worker."""
    options = arguments()
    document = Path(options.pipeline).read_text()
    talk(Worker(json.loads(document), options.socket, int(options.monitor_id)), re.sub(r"\\/", "/", document))
