"""`zmnextctl`, the operator's command: doc/reference/zmnextctl.md.

Exit status: 0 done or answered, 1 failed or a problem was found, 2 wrong usage, 3 no service answers, 4 no such monitor on zm-next,
5 not permitted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from zmtwist.config import zm_conf as zmconf
from zmtwist.config.endpoints import BadAddress, client_address
from zmtwist.config.model import Config
from zmtwist.config.settings import ConfigError, api_endpoint, load, token_file
from zmtwist.ops.cli import verbs
from zmtwist.ops.cli.client import Client, RequestRefused, Unreachable
from zmtwist.ops.cli.completion import SHELLS
from zmtwist.ops.cli.format import findings_lines
from zmtwist.ops.commands import ORDERS
from zmtwist.untrusted.integers import whole
from zmtwist.untrusted.redact import clean

OK, FAILED, USAGE, UNREACHABLE, NO_MONITOR, FORBIDDEN = range(6)

DEFAULT_CONFIG = "/etc/zmnext.toml"
"""Where `doctor` looks if it is not told."""

LONGEST_INTERVAL = 86_400
"""Seconds between two looks of `watch`."""

SHORTEST_TRIAL, LONGEST_TRIAL = 3, 600
"""Seconds for which `try` may watch a camera."""

_STATUS_OF = {
    "no_such_monitor": NO_MONITOR,
    "not_on_zm_next": NO_MONITOR,
    "unauthorized": FORBIDDEN,
    "forbidden": FORBIDDEN,
    "no_token": FORBIDDEN,
    "wrong_host": FORBIDDEN,
    "not_running": UNREACHABLE,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` by default) and return the exit status."""
    options = _parser().parse_args(argv, argparse.Namespace(json=False, api=None, config=None, token_file=None))
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except Unreachable as error:
        return _failed(options, UNREACHABLE, "unreachable", str(error))
    except RequestRefused as error:
        return _failed(options, _STATUS_OF.get(error.code, FAILED), error.code, error.message)
    except (BadAddress, ConfigError) as error:
        return _failed(options, USAGE, "bad_usage", str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain about that at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return status


def _failed(options: argparse.Namespace, status: int, code: str, message: str) -> int:
    if options.json:
        print(json.dumps({"error": {"code": code, "message": message}}))
    else:
        print(f"zmnextctl: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    # Given to every verb too, so that they may stand before or after; a verb that was not given one must not reset it.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    common.add_argument(
        "--api", metavar="ENDPOINT", help="where the service listens: a socket's path, or http://host:port"
    )
    common.add_argument("--config", metavar="FILE", help="the service's configuration, which says where it listens")
    common.add_argument("--token-file", metavar="FILE", help="holds the token, which a TCP endpoint needs")
    parser = argparse.ArgumentParser(
        prog="zmnextctl",
        description="Control zm-next workers in ZoneMinder.",
        epilog="Exit status: 0 done, 1 failed or a problem found, 2 wrong usage, 3 no service answers, 4 no such monitor, 5 not permitted.",
        parents=[common],
    )
    made = parser.add_subparsers(metavar="VERB", dest="verb", required=True)

    def verb(name: str, what: str) -> argparse.ArgumentParser:
        return made.add_parser(name, parents=[common], help=what, description=what)

    def asks(
        name: str, what: str, run: Callable[[Client, argparse.Namespace], int], *, monitor: bool = False
    ) -> argparse.ArgumentParser:
        one = verb(name, what)
        if monitor:
            one.add_argument("monitor", metavar="N", type=_whole, help="the monitor's id")
        one.set_defaults(run=lambda options: run(_client(options), options))
        return one

    asks("status", "the service as a whole", verbs.status)
    asks("monitors", "a line for each monitor", verbs.monitors)
    for name, what in ORDERS.items():
        asks(name, what, verbs.order, monitor=True)
    pipeline = asks("pipeline", "its worker's document, without secrets", verbs.pipeline, monitor=True)
    pipeline.add_argument("--diff", action="store_true", help="what the database asks for now, against what runs")
    asks("why", "what is wrong with it, and what to do", verbs.why, monitor=True)
    asks("logs", "the last lines of its worker's log", verbs.logs, monitor=True)
    events = asks("events", "the latest events", verbs.events)
    events.add_argument("--monitor", metavar="N", type=_whole, help="of this monitor only")
    events.add_argument("--since", metavar="WHEN", help="an event's id (later ones only), or a local date and time")
    events.add_argument("--limit", metavar="COUNT", type=_whole, help="at most so many (50)")
    events.add_argument("--follow", action="store_true", help="tell what happens from now on")
    events.add_argument("--count", metavar="COUNT", type=_whole, help="with --follow: end after so many")
    watch = asks("watch", "the monitors, again and again", verbs.watch)
    watch.add_argument("--interval", metavar="SECONDS", type=_seconds, default=2.0, help="between two looks (2)")
    watch.add_argument("--count", metavar="COUNT", type=_whole, help="end after so many looks")
    asks("reconcile", "read the database and act on it now", verbs.reconcile)
    handoff = asks("handoff", "end the service, but leave its workers recording for the next one", verbs.handoff)
    handoff.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=60.0,
        help="how long its end is waited for (60); 0: not at all",
    )
    recover = asks("recover", "bring events and clips together again", verbs.recover)
    recover.add_argument("--dry-run", action="store_true", help="only say what would be done")
    recover.add_argument(
        "--days", metavar="N", type=_whole, default=7, help="how far back closed events are looked at (7)"
    )
    recover.add_argument("--force", action="store_true", help="even where more than half seems wrong")
    fsck = verb("fsck", "hold events and clips against each other, and change nothing; the service need not run")
    fsck.add_argument("--zm-conf", metavar="FILE", default=zmconf.DEFAULT_PATH, help="ZoneMinder's own configuration")
    fsck.set_defaults(run=_fsck)
    doctor = verb("doctor", "look at everything that the service needs; it need not run")
    doctor.add_argument("--zm-conf", metavar="FILE", default=zmconf.DEFAULT_PATH, help="ZoneMinder's own configuration")
    doctor.set_defaults(run=_doctor)
    tried = verb(
        "try", "record it for some seconds beside everything, and tell how well that went; the service need not run"
    )
    tried.add_argument("monitor", metavar="N", type=_whole, help="the monitor's id")
    tried.add_argument("--seconds", metavar="SECONDS", type=_trial_seconds, default=20.0, help="for how long (20)")
    tried.add_argument("--zm-conf", metavar="FILE", default=zmconf.DEFAULT_PATH, help="ZoneMinder's own configuration")
    tried.set_defaults(run=_try)
    check = verb("check-config", "look for mistakes in a configuration file")
    check.add_argument("file", metavar="FILE")
    check.set_defaults(run=_check_config)
    # Without a help text it is not listed: it is for those who package zmnextctl.
    completion = made.add_parser("completion", description="write this command's completion for a shell")
    completion.add_argument("shell", metavar="SHELL", choices=sorted(SHELLS))
    completion.set_defaults(run=lambda options: _completion(parser, options))
    return parser


def _whole(text: str) -> int:
    number = whole(text, 9)
    if number is None:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}")
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_INTERVAL:  # which nan is not either
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 to {LONGEST_INTERVAL}, got {text!r}")
    return seconds


def _trial_seconds(text: str) -> float:
    seconds = _seconds(text)
    if not SHORTEST_TRIAL <= seconds <= LONGEST_TRIAL:
        raise argparse.ArgumentTypeError(f"must be from {SHORTEST_TRIAL} to {LONGEST_TRIAL} seconds, got {text!r}")
    return seconds


def _client(options: argparse.Namespace) -> Client:
    config = Config() if options.config is None else load(options.config)
    return Client(client_address(options.api or api_endpoint(config)), options.token_file or token_file(config))


def _doctor(options: argparse.Namespace) -> int:
    from zmtwist.ops.cli.doctor import examine  # takes the database drivers along, which no other verb needs

    default = DEFAULT_CONFIG if Path(DEFAULT_CONFIG).exists() else None
    findings = [attrs.asdict(one) for one in examine(options.config or default, options.zm_conf)]
    bad = any(one["verdict"] == "FAIL" for one in findings)
    verbs.say(options, {"ok": not bad, "findings": findings}, lambda: findings_lines(findings))
    return FAILED if bad else OK


def _fsck(options: argparse.Namespace) -> int:
    from zmtwist.recovery.fsck import CannotCheck, check

    try:
        checked = check(options.config or DEFAULT_CONFIG, options.zm_conf)
    except CannotCheck as error:
        return _failed(options, FAILED, error.code, str(error))
    told = {"events": checked.events, "clips": checked.clips, "wrong": [attrs.asdict(one) for one in checked.wrong]}
    lines = [*map(str, checked.wrong), f"{checked.events} events, {checked.clips} clips, {len(checked.wrong)} wrong"]
    verbs.say(options, told, lambda: map(clean, lines))
    return FAILED if checked.wrong else OK


def _try(options: argparse.Namespace) -> int:
    from zmtwist.ops.cli.try_monitor import try_monitor
    from zmtwist.recovery.fsck import CannotCheck

    try:
        found = try_monitor(options.config or DEFAULT_CONFIG, options.zm_conf, options.monitor, options.seconds)
    except CannotCheck as error:
        return _failed(options, _STATUS_OF.get(error.code, FAILED), error.code, str(error))
    findings = [attrs.asdict(one) for one in found]
    well = not any(one["verdict"] == "FAIL" for one in findings)
    verbs.say(options, {"ok": well, "id": options.monitor, "findings": findings}, lambda: findings_lines(findings))
    return OK if well else FAILED


def _check_config(options: argparse.Namespace) -> int:
    try:
        config = load(options.file)
    except ConfigError as error:
        if options.json:
            print(json.dumps({"ok": False, "file": options.file, "problems": list(error.problems)}))
        else:
            print("\n".join(error.problems), file=sys.stderr)
        return FAILED
    if options.json:
        monitors = config.zmnext.monitors
        listed = monitors if monitors == "all" else list(monitors)
        print(json.dumps({"ok": True, "file": options.file, "enabled": config.zmnext.enabled, "monitors": listed}))
    else:
        print(f"{options.file}: ok: {_summary(config)}")
    return OK


def _completion(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    print(SHELLS[options.shell](parser), end="")
    return OK


def _summary(config: Config) -> str:
    """One line on what a service with this file would do."""
    monitors = config.zmnext.monitors
    if monitors == "all":
        chosen = "all monitors"
    elif monitors:
        chosen = f"monitors {', '.join(map(str, monitors))} and those flagged UseZmNext"
    else:
        chosen = "monitors flagged UseZmNext"
    return f"{'enabled' if config.zmnext.enabled else 'not enabled'}, {chosen}"


if __name__ == "__main__":
    sys.exit(main())
