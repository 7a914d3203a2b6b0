"""What is there at the manhole's prompt."""

from __future__ import annotations

import pydoc
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from zmtwist.fleet.fleet import NotInFleet
from zmtwist.fleet.status import WorkerStatus
from zmtwist.ops.cli.table import table
from zmtwist.ops.service_view import Running
from zmtwist.untrusted.redact import mask
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.pool import Database

HELP = """\
This is Python inside the running service. What you type runs on the reactor's thread: while it runs, no camera is heard.
Never wait or loop here; a Deferred is shown when it fires.

monitors              every monitor on zm-next; monitors[3] is one, with all that is known of it
restart(3)            stop its worker and start it again, now
db("SELECT ...", ...) the rows of one statement; db.pool is the database service
fleet                 the workers: fleet.status(), fleet.stop(3), fleet.hold(3), fleet.documents(3), ...
writer                what is written to the database: writer.figures, writer.queued, writer.open_places
service               the whole service
help()                this text; help(x) Python's own on x
exit()                leave, as Ctrl-D does

fleet and writer are None as of a login before the database has answered: log in again. Documents hold the cameras' passwords:
what is shown here is masked where it looks like one, and no more."""


class Monitors(Mapping[int, WorkerStatus]):
    """Every monitor on zm-next, as it is whenever it is looked at; shown as a table."""

    def __init__(self, service: Running) -> None:
        self._service = service

    def _now(self) -> dict[int, WorkerStatus]:
        fleet = self._service.fleet
        return {} if fleet is None else {told.monitor_id: told for told in fleet.status()}

    def __getitem__(self, monitor_id: int) -> WorkerStatus:
        return self._now()[monitor_id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __repr__(self) -> str:
        names, workers = self._service.names, self._now()
        if not workers:
            return "no monitor runs on zm-next"
        rows = [
            (n, names.get(n, ""), told.state.value, told.frames_per_second, told.pid, mask(told.reason))
            for n, told in workers.items()
        ]
        return "\n".join(table(("Id", "Name", "State", "Fps", "Pid", "Reason"), rows))


class Query:
    """Runs one statement on the database and gives its rows."""

    def __init__(self, pool: Database) -> None:
        self.pool = pool

    def __call__(self, statement: str, *values: object) -> Deferred[list[tuple[Any, ...]]]:
        """The rows of `statement`, in a transaction of its own. `%s` stands for one of `values`; with MySQL
        `%%` is a percent sign."""

        def run(sql: Sql) -> list[tuple[Any, ...]]:
            return list(sql.rows(statement, *values))

        return self.pool.interact(run)

    def __repr__(self) -> str:
        return f"<db {self.pool.url}>"


class Help:
    """Shows `HELP` by its name alone and without arguments, else what Python's own help shows."""

    def __call__(self, *about: object) -> None:
        """Show it."""
        text = pydoc.plain(pydoc.render_doc(about[0])) if about else HELP
        sys.stdout.write(f"{text}\n")  # which is the terminal, while a line of it runs

    def __repr__(self) -> str:
        return HELP


def namespace(service: Running) -> dict[str, Any]:
    """The names at the prompt of one login."""

    def restart(monitor_id: int) -> str:
        """Stop a monitor's worker and start it again, now."""
        if service.fleet is None:
            return "the service has not started any worker yet"
        try:
            service.fleet.restart(monitor_id)
        except NotInFleet as error:
            return str(error)
        return f"monitor {monitor_id} is {Monitors(service)[monitor_id].state.value}"

    return {
        "service": service,
        "fleet": service.fleet,
        "monitors": Monitors(service),
        "writer": None if service.ingest is None else service.ingest.writer,
        "db": Query(service.database),
        "restart": restart,
        "help": Help(),
    }
