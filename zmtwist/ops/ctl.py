"""`zmnextctl`, the operator's command.

Exit status: 0 done, 1 the answer is bad news, 2 wrong usage (argparse's own).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from zmtwist.config import Config
from zmtwist.settings import ConfigError, load


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` by default) and return the exit status."""
    options = _parser().parse_args(argv, argparse.Namespace(json=False))
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    # Given to every verb too, so that it may stand before or after; a verb that was not given it must not reset it.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object, for programs"
    )
    parser = argparse.ArgumentParser(
        prog="zmnextctl", description="Control zm-next workers in ZoneMinder.", parents=[common]
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    check = verbs.add_parser("check-config", parents=[common], help="look for mistakes in a configuration file")
    check.add_argument("file", metavar="FILE")
    check.set_defaults(run=_check_config)
    return parser


def _check_config(options: argparse.Namespace) -> int:
    try:
        config = load(options.file)
    except ConfigError as error:
        if options.json:
            print(json.dumps({"ok": False, "file": options.file, "problems": list(error.problems)}))
        else:
            print("\n".join(error.problems), file=sys.stderr)
        return 1
    if options.json:
        monitors = config.zmnext.monitors
        listed = monitors if monitors == "all" else list(monitors)
        print(json.dumps({"ok": True, "file": options.file, "enabled": config.zmnext.enabled, "monitors": listed}))
    else:
        print(f"{options.file}: ok: {_summary(config)}")
    return 0


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
