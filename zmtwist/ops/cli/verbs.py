"""What each verb of `zmnextctl` that talks to the service does: a question or an order, then lines or JSON, then an exit status."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

from zmtwist.ops.cli.client import Client
from zmtwist.ops.cli.format import (
    diff_lines,
    events_lines,
    happening_line,
    log_lines,
    monitors_lines,
    order_lines,
    pipeline_lines,
    recovery_lines,
    status_lines,
)
from zmtwist.untrusted.redact import clean

RECOVERY_SECONDS = 3600.0
"""Many clips may have to be read from end to end."""

CLEAR = "\x1b[H\x1b[2J"


def say(options: argparse.Namespace, answer: Any, lines: Callable[[], Iterable[str]]) -> int:
    """Print an answer: as one JSON object with --json, else as lines. Gives exit status 0."""
    if options.json:
        print(json.dumps(answer))
    else:
        print("\n".join(lines()))
    return 0


def status(client: Client, options: argparse.Namespace) -> int:
    """`status`: the service as a whole."""
    answer = client.get("/api/status")
    return say(options, answer, lambda: status_lines(answer))


def monitors(client: Client, options: argparse.Namespace) -> int:
    """`monitors`: one line each."""
    answer = client.get("/api/monitors")
    return say(options, answer, lambda: monitors_lines(answer))


def order(client: Client, options: argparse.Namespace) -> int:
    """`start`, `stop`, `restart`, `reload`, `hold`, `release`."""
    answer = client.post(f"/api/monitors/{options.monitor}/{options.verb}")
    return say(options, answer, lambda: order_lines(answer))


def pipeline(client: Client, options: argparse.Namespace) -> int:
    """`pipeline N [--diff]`."""
    if options.diff:
        answer = client.get(f"/api/monitors/{options.monitor}/pipeline?diff=1")
        return say(options, answer, lambda: diff_lines(answer))
    answer = client.get(f"/api/monitors/{options.monitor}/pipeline")
    return say(options, answer, lambda: pipeline_lines(answer, json.dumps(answer["document"], indent=2)))


def why(client: Client, options: argparse.Namespace) -> int:
    """`why N`: one line."""
    answer = client.get(f"/api/monitors/{options.monitor}/why")
    return say(options, answer, lambda: [clean(answer["line"])])


def logs(client: Client, options: argparse.Namespace) -> int:
    """`logs N`: the worker's last lines."""
    answer = client.get(f"/api/monitors/{options.monitor}")
    return say(options, {"id": answer["id"], "log": answer["log"]}, lambda: log_lines(answer))


def events(client: Client, options: argparse.Namespace) -> int:
    """`events`: those in the database, or with --follow what happens from now on."""
    wishes = {"monitor": options.monitor, "since": options.since, "limit": options.limit}
    query = urlencode({name: value for name, value in wishes.items() if value is not None})
    if options.follow:
        only = f"?monitor={options.monitor}" if options.monitor is not None else ""
        for name, told in itertools.islice(client.stream(f"/api/stream{only}"), options.count):
            print(json.dumps({"happening": name, **told}) if options.json else happening_line(name, told), flush=True)
        return 0
    answer = client.get(f"/api/events?{query}")
    return say(options, answer, lambda: events_lines(answer))


def handoff(client: Client, options: argparse.Namespace) -> int:
    """`handoff [--wait SECONDS]`: the service ends, its workers go on. Exit status 1 where its process had not ended in that time."""
    with client.ending() as ending:
        answer = client.post("/api/handoff")
        ended = ending.wait(options.wait)
    going_on = f"{answer['workers']} workers go on recording"
    if ended:
        line = f"{going_on}; the service has ended. Start it again, and it takes them back."
    else:
        who = f" (process {ending.pid})" if ending.pid else ""
        line = f"{going_on}; the service{who} is ending, and has not ended within {options.wait:g} s. Its next start waits for that."
    say(options, {**answer, "ended": ended}, lambda: [line])
    return 0 if ended or not options.wait else 1


def reconcile(client: Client, options: argparse.Namespace) -> int:
    """`reconcile`: look at the database now."""
    answer = client.post("/api/reconcile")
    return say(options, answer, lambda: [f"{answer['monitors']} monitors on zm-next, as the database says"])


def recover(client: Client, options: argparse.Namespace) -> int:
    """`recover [--dry-run] [--days N] [--force]`. Exit status 1 where something could not be done, or was not, for good reason."""
    query = {"dry_run": int(options.dry_run), "force": int(options.force), "days": options.days}
    answer = client.post(f"/api/recover?{urlencode(query)}", RECOVERY_SECONDS)
    say(options, answer, lambda: recovery_lines(answer))
    return 1 if answer["stopped"] or answer["failed"] else 0


def watch(client: Client, options: argparse.Namespace) -> int:
    """`watch`: the table of monitors, again and again. With --json one object a line."""
    rounds = itertools.count() if options.count is None else range(options.count)
    for number in rounds:
        if number:
            time.sleep(options.interval)
        answer = client.get("/api/monitors")
        if options.json:
            print(json.dumps(answer), flush=True)
            continue
        clear = CLEAR if sys.stdout.isatty() else "\n" if number else ""
        print(clear + "\n".join(monitors_lines(answer)), flush=True)
    return 0
