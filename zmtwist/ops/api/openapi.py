"""The API's description in OpenAPI 3.1. A test holds it to the routes, and the answers to its schemas."""

from __future__ import annotations

from typing import Any

from zmtwist._version import __version__
from zmtwist.fleet.process.state import State
from zmtwist.ops.commands import ORDERS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_NUMBER: Schema = {"type": "number"}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_WHOLE: Schema = {"type": "integer"}
_MAYBE_WHOLE: Schema = {"type": ["integer", "null"]}
_FLAG: Schema = {"type": "boolean"}
_MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_STATE: Schema = {"type": "string", "enum": [state.value for state in State]}

_MONITOR = {
    "id": _WHOLE,
    "name": _TEXT,
    "state": _STATE,
    "reason": _TEXT,
    "since": {"type": "string", "format": "date-time"},
    "seconds_in_state": _NUMBER,
    "next_retry": _MAYBE_TIME,
    "restarts_last_hour": _WHOLE,
    "capture_fps": _MAYBE_NUMBER,
    "media_age_seconds": _MAYBE_NUMBER,
    "last_exit": _MAYBE_TEXT,
    "pid": _MAYBE_WHOLE,
    "digest": _MAYBE_TEXT,
    "adopted": _FLAG,
    "restart_due": _MAYBE_TEXT,
    "mark": _MAYBE_TEXT,
    "not_recording": _MAYBE_TEXT,
    "legacy": _MAYBE_TEXT,
    "worker_events": _WHOLE,
    "unlogged_lines": _WHOLE,
    "missed_events": _WHOLE,
    "events_opened": _WHOLE,
    "events_closed": _WHOLE,
    "last_event": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/LastEvent"}]},
    "queued_changes": _WHOLE,
}

_SCHEMAS: dict[str, Schema] = {
    "Error": _object(error=_object(code=_TEXT, message=_TEXT)),
    "Status": _object(
        state={"type": "string", "enum": ["STARTING", "RUNNING", "STOPPING"]},
        version=_TEXT,
        started={"type": "string", "format": "date-time"},
        uptime_seconds=_NUMBER,
        monitors=_object(
            total=_WHOLE, by_state={"type": "object", "additionalProperties": _WHOLE}, not_recording=_WHOLE
        ),
        database=_object(url=_TEXT, error=_MAYBE_TEXT),
        inference={"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Inference"}]},
        ingest={"type": ["object", "null"]},
        recovery={"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Recovery"}]},
        not_installed=_list(_object(extra=_TEXT, offers=_TEXT, do=_TEXT)),
        storages=_list(
            _object(path=_TEXT, free_bytes=_MAYBE_WHOLE, total_bytes=_MAYBE_WHOLE, trouble=_MAYBE_TEXT, do=_MAYBE_TEXT)
        ),
        reactor_lag_seconds=_object(last=_NUMBER, longest_of_last_minute=_NUMBER),
    ),
    "Recovery": _object(trouble=_MAYBE_TEXT, do=_MAYBE_TEXT, failed=_WHOLE, stopped=_WHOLE),
    "Inference": _object(
        state=_STATE,
        reason=_TEXT,
        since={"type": "string", "format": "date-time"},
        seconds_in_state=_NUMBER,
        next_retry=_MAYBE_TIME,
        restarts_last_hour=_WHOLE,
        last_exit=_MAYBE_TEXT,
        pid=_MAYBE_WHOLE,
        adopted=_FLAG,
        socket=_TEXT,
        log=_list(_TEXT),
    ),
    "LastEvent": _object(
        id=_WHOLE, cause=_TEXT, start=_MAYBE_TIME, open=_FLAG, length_seconds=_MAYBE_NUMBER, alarm_frames=_WHOLE
    ),
    "Monitor": _object(**_MONITOR),
    "MonitorWithLog": _object(
        **_MONITOR, log=_list(_TEXT), health={"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Health"}]}
    ),
    "Health": _object(
        well=_FLAG,
        troubles=_list(_object(what=_TEXT, since=_MAYBE_TIME, message=_TEXT)),
        streams=_list(_object(id=_WHOLE, state=_TEXT, since=_MAYBE_TIME, message=_TEXT, attempt=_MAYBE_WHOLE)),
        failures=_WHOLE,
        last_failed=_MAYBE_TIME,
        last_restored=_MAYBE_TIME,
        state=_MAYBE_TEXT,
        state_since=_MAYBE_TIME,
    ),
    "Monitors": _object(monitors=_list(_ref("Monitor")), elsewhere=_list(_object(id=_WHOLE, name=_TEXT, reason=_TEXT))),
    "Pipeline": {
        "oneOf": [
            _object(
                id=_WHOLE,
                digest=_TEXT,
                running_digest=_MAYBE_TEXT,
                mode=_TEXT,
                warnings=_list(_TEXT),
                document={"type": "object"},
            ),
            _object(
                id=_WHOLE, running_digest=_MAYBE_TEXT, digest=_MAYBE_TEXT, same=_FLAG, diff=_list(_TEXT), note=_TEXT
            ),
        ]
    },
    "Why": _object(id=_WHOLE, state=_MAYBE_TEXT, well=_FLAG, what=_TEXT, do=_TEXT, line=_TEXT),
    "Events": _object(
        events=_list(
            _object(
                id=_WHOLE,
                monitor_id=_WHOLE,
                name=_TEXT,
                cause=_TEXT,
                start=_MAYBE_TEXT,
                end=_MAYBE_TEXT,
                length=_NUMBER,
                frames=_WHOLE,
                alarm_frames=_WHOLE,
                max_score=_WHOLE,
                disk_bytes=_MAYBE_WHOLE,
                video=_TEXT,
            )
        )
    ),
    "Reconciled": _object(monitors=_WHOLE),
    "Recovered": _object(
        done=_FLAG,
        actions=_list(
            _object(
                kind={
                    "type": "string",
                    "enum": [
                        "close_from_file",
                        "close_empty",
                        "make_event",
                        "set_aside",
                        "leave_open",
                        "hold_back",
                        "report",
                    ],
                },
                monitor_id=_WHOLE,
                event_id=_MAYBE_WHOLE,
                path=_MAYBE_TEXT,
                text=_TEXT,
            )
        ),
        stopped=_list(_TEXT),
        failed=_list(_TEXT),
    ),
    "HandedOff": _object(workers=_WHOLE),
    "Ticket": _object(url=_TEXT, valid_seconds=_WHOLE),
}


def _query(name: str, schema: Schema, what: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": what}


_ID: Schema = {
    "name": "monitor_id",
    "in": "path",
    "required": True,
    "schema": _WHOLE,
    "description": "The monitor's id.",
}
_EVENT: Schema = {**_ID, "name": "event_id", "description": "The event's id."}
_VERB: Schema = {"name": "verb", "in": "path", "required": True, "schema": {"type": "string", "enum": list(ORDERS)}}


def _answer(what: str, content: Schema, kind: str = "application/json") -> Schema:
    return {"description": what, "content": {kind: {"schema": content}}}


def _media(what: str, *kinds: str) -> Schema:
    return {"description": what, "content": {kind: {} for kind in kinds}}


def _in_path(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _does(summary: str, answer: str | Schema, *parameters: Schema, status: str = "200") -> Schema:
    """One operation. `answer` is the name of a schema, or a whole response."""
    told = _answer(summary, _ref(answer)) if isinstance(answer, str) else answer
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {status: told, "default": _answer("What went wrong.", _ref("Error"))},
    }


def openapi(base: str = "") -> Schema:
    """The whole document, of an API under this path."""
    only = _query("monitor", _WHOLE, "Of this monitor only.")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "zmtwist",
            "version": __version__,
            "description": "Control of zm-next workers. Over TCP every request needs the bearer token, but for the page.",
        },
        "servers": [{"url": base or "/"}],
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
        "paths": {
            "/": {"get": _does("The status page; needs no token.", _media("The page.", "text/html"))},
            "/page/{digest}/{name}": {
                "get": _does(
                    "What belongs to the page; needs no token.",
                    _media("The file.", "text/css", "text/javascript", "image/svg+xml"),
                    _in_path("digest", _TEXT),
                    _in_path("name", _TEXT),
                )
            },
            "/api/status": {"get": _does("The service as a whole.", "Status")},
            "/api/monitors": {"get": _does("All monitors, those not on zm-next with the reason.", "Monitors")},
            "/api/monitors/{monitor_id}": {"get": _does("One monitor with its last log lines.", "MonitorWithLog", _ID)},
            "/api/monitors/{monitor_id}/pipeline": {
                "get": _does(
                    "Its document without secrets; with diff=1 what the database asks for now against what runs.",
                    "Pipeline",
                    _ID,
                    _query("diff", {"type": "string", "enum": ["0", "1"]}, "What would change."),
                )
            },
            "/api/monitors/{monitor_id}/why": {"get": _does("What is wrong with it and what to do.", "Why", _ID)},
            "/api/monitors/{monitor_id}/live.mp4": {
                "get": _does(
                    "Its picture as it comes, as fragmented MP4 from the last keyframe on, until either side ends it.",
                    _media("The stream; the content type tells the codec.", "video/mp4"),
                    _ID,
                )
            },
            "/api/monitors/{monitor_id}/{verb}": {
                "post": _does("Order it; gives it as it is afterwards.", "Monitor", _ID, _VERB)
            },
            "/api/reconcile": {"post": _does("Read the database and act on it now.", "Reconciled")},
            "/api/recover": {
                "post": _does(
                    "Bring rows and clips together; what it did, or would do.",
                    "Recovered",
                    _query("dry_run", {"type": "string", "enum": ["0", "1"]}, "Only say what would be done."),
                    _query("days", _WHOLE, "How far back closed events are looked at; 7 unless told."),
                    _query("force", {"type": "string", "enum": ["0", "1"]}, "Even where more than half seems wrong."),
                )
            },
            "/api/handoff": {
                "post": _does("End the service and leave its workers recording.", "HandedOff", status="202")
            },
            "/api/events": {
                "get": _does(
                    "Events as they stand in the database, newest first.",
                    "Events",
                    only,
                    _query("since", _TEXT, "An event's id (later ones only), or a local date and time."),
                    _query("limit", _WHOLE, "At most so many; 50 unless told, 500 at most."),
                )
            },
            "/api/events/{event_id}/clip": {
                "get": _does(
                    "Its clip as it lies on disk; takes Range. With ticket no token is needed.",
                    _media("The clip.", "video/x-matroska", "video/mp4"),
                    _EVENT,
                    _query("ticket", _TEXT, "What /api/events/N/ticket gave."),
                )
            },
            "/api/events/{event_id}/clip.mp4": {
                "get": _does(
                    "The video of its clip as fragmented MP4, not encoded again.",
                    _media("The video; the content type tells the codec.", "video/mp4"),
                    _EVENT,
                )
            },
            "/api/events/{event_id}/ticket": {
                "get": _does(
                    "A URL for its clip, for what can't send the token, and for how long it is good.", "Ticket", _EVENT
                )
            },
            "/api/events/{event_id}/{name}.jpg": {
                "get": _does(
                    "One of its pictures, where they were made.",
                    _media("The picture.", "image/jpeg"),
                    _EVENT,
                    _in_path("name", {"type": "string", "enum": ["snapshot", "alarm"]}),
                )
            },
            "/api/stream": {
                "get": _does(
                    "What happens, as server-sent events: transition, event_opened, event_closed, and resync after a loss.",
                    _answer("The stream.", _TEXT, "text/event-stream"),
                    only,
                    _query("after", _TEXT, "Go on after this id, as the header Last-Event-ID does."),
                )
            },
            "/api/openapi.json": {"get": _does("This document.", _answer("OpenAPI 3.1.", {"type": "object"}))},
            "/metrics": {"get": _does("For Prometheus.", _answer("Text format 0.0.4.", _TEXT, "text/plain"))},
        },
    }
