"""What `zmnextctl` prints for people: the API's answers as lines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from zmtwist.ops.cli.table import table
from zmtwist.untrusted.redact import clean

Answer = Mapping[str, Any]

WIDEST_REASON = 60


def status_lines(answer: Answer) -> list[str]:
    """The service as a whole."""
    counts = answer["monitors"]["by_state"]
    monitors = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
    if failing := answer["monitors"]["not_recording"]:
        monitors += f"; {failing} NOT_RECORDING"
    lag = answer["reactor_lag_seconds"]
    lines = [
        f"service   {answer['state']} for {span(answer['uptime_seconds'])}, version {answer['version']}",
        f"monitors  {answer['monitors']['total']}: {monitors}",
        f"database  {clean(answer['database']['url'])}: {clean(answer['database']['error'] or 'ok')}",
    ]
    if (inference := answer["inference"]) is not None:
        lines.append(f"inference {_inference(inference)}")
    if (ingest := answer["ingest"]) is not None:
        lines.append(
            f"ingest    {ingest['queued']} changes wait, {ingest['committed']} written in {ingest['batches']} batches, "
            f"{ingest['refused']} refused, {ingest['orphaned']} without an event"
        )
        spool = ingest["spool"]
        if spool["aside"]:
            lines.append(
                f"spool     {spool['unreadable']} changes made no sense and are kept as {clean(spool['aside'])}"
            )
        if spool["now"] or spool["gave_way"] or spool["trouble"]:
            lines.append(
                f"spool     {spool['now']} changes on disk, {spool['bytes'] // 1024} KiB, {spool['gave_way']} gave way: "
                f"{clean(spool['trouble'] or 'ok')}"
            )
        if ingest["last_error"]:
            lines.append(f"          {clean(ingest['last_error'])}")
    lines += [
        f"storage   {clean(one['trouble'])}; {clean(one['do'])}"
        for one in answer["storages"]
        if one["trouble"] is not None
    ]
    recovery = answer.get("recovery")
    if recovery and recovery["trouble"]:
        lines.append(f"recovery  {clean(recovery['trouble'])}; {clean(recovery['do'])}")
    lines += [f"without   {one['offers']}: {one['do']}" for one in answer.get("not_installed", ())]
    lines.append(f"reactor   {1000 * lag['longest_of_last_minute']:.0f} ms late at most in the last minute")
    return lines


def _inference(told: Answer) -> str:
    lived = (
        f"{told['state']} for {span(told['seconds_in_state'])}, {told['restarts_last_hour']} restarts in the last hour"
    )
    if told["state"] == "LIVE":
        return lived
    meaning = "" if told["state"] == "STOPPED" else ", nothing is detected without it"
    return f"{lived}{meaning}: {clean(told['reason'])}"


def monitors_lines(answer: Answer) -> list[str]:
    """A table of all monitors."""
    rows = [
        (
            one["id"],
            one["name"],
            one["state"] if one["mark"] is None else f"{one['state']} {one['mark']}",
            span(one["seconds_in_state"]),
            one["capture_fps"],
            one["restarts_last_hour"],
            None if one["last_event"] is None else one["last_event"]["id"],
            short(one["not_recording"] or one["reason"]),
        )
        for one in answer["monitors"]
    ]
    lines = table(("Id", "Name", "State", "For", "Fps", "Restarts/h", "Event", "Reason"), rows)
    if elsewhere := answer["elsewhere"]:
        lines += ["", "Not on zm-next:"]
        lines += table(("Id", "Name", "Reason"), [(one["id"], one["name"], one["reason"]) for one in elsewhere])
    return lines


def order_lines(answer: Answer) -> list[str]:
    """A monitor after an order."""
    return [f"monitor {answer['id']} ({clean(answer['name'])}): {answer['state']}: {clean(answer['reason'])}"]


def pipeline_lines(answer: Answer, document: str) -> list[str]:
    """A document, its text already laid out."""
    return [*(f"# {clean(warning)}" for warning in answer["warnings"]), *document.splitlines()]


def diff_lines(answer: Answer) -> list[str]:
    """What would change."""
    if answer["same"]:
        return [f"monitor {answer['id']}: nothing would change"]
    lines = [clean(line) for line in answer["diff"]]
    return [*lines, f"monitor {answer['id']}: {clean(answer['note'])}"] if answer["note"] else lines


def events_lines(answer: Answer) -> list[str]:
    """A table of events, oldest first, as one reads a log."""
    heads = ("Id", "Monitor", "Cause", "Start", "End", "Length", "Frames", "Alarm", "Max")
    rows = [
        (
            one["id"],
            one["monitor_id"],
            short(one["cause"]),
            one["start"],
            one["end"] or "open",
            one["length"],
            one["frames"],
            one["alarm_frames"],
            one["max_score"],
        )
        for one in reversed(answer["events"])
    ]
    return table(heads, rows)


def happening_line(name: str, told: Answer) -> str:
    """One entry of the stream."""
    when = clock(told.get("at"))
    if name == "transition":
        return f"{when}  monitor {told['monitor_id']}: {told['from']} -> {told['to']}: {clean(told['reason'])}"
    if name == "event_opened":
        return f"{when}  monitor {told['monitor_id']}: event {told['event_id']} opened ({clean(told['cause'])})"
    if name == "event_closed":
        return f"{when}  monitor {told['monitor_id']}: event {told['event_id']} closed after {told['length_seconds']:.1f} s"
    return f"{when}  {name}"


def log_lines(answer: Answer) -> list[str]:
    """The last lines of a worker's log."""
    return [clean(line) for line in answer["log"]]


def recovery_lines(answer: Answer) -> list[str]:
    """What a recovery did, or would do."""
    done = [one for one in answer["actions"] if one["kind"] not in ("leave_open", "hold_back")]
    lines = [clean(one["text"]) for one in done]
    lines += [f"stopped: {clean(text)}" for text in answer["stopped"]]
    lines += [f"not done: {clean(text)}" for text in answer["failed"]]
    if not lines:
        return ["rows and files fit each other: there is nothing to recover"]
    verb = "done" if answer["done"] else "would be done"
    return [*lines, f"{len(done)} {verb}"]


def findings_lines(findings: Sequence[Answer]) -> list[str]:
    """What `doctor` found, each fix under its finding."""
    lines: list[str] = []
    width = max((len(one["what"]) for one in findings), default=0)
    for one in findings:
        lines.append(f"{one['verdict']:<4}  {one['what']:<{width}}  {clean(one['found'])}".rstrip())
        if one["fix"]:
            lines.append(f"{'':<4}  {'':<{width}}  fix: {clean(one['fix'])}")
    return lines


def span(seconds: float) -> str:
    """A length of time in two units at most."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def clock(text: str | None) -> str:
    """An API time as the local time of day."""
    return "--:--:--" if text is None else f"{datetime.fromisoformat(text).astimezone():%H:%M:%S}"


def short(text: str) -> str:
    """`text`, cut to what fits a table."""
    return text if len(text) <= WIDEST_REASON else f"{text[: WIDEST_REASON - 1]}…"
