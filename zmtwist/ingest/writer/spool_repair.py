"""A spool that makes no sense any more: under which names it is kept, and its rows that still make sense. Blocks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from zmtwist.durable import sync_directory
from zmtwist.ingest.writer.spool_format import COLUMNS, Senseless, event_of, event_row, group_of, group_row
from zmtwist.ingest.writer.sqlite_salvage import Salvage


class Damaged:
    """The damaged file that was at `path`, and its log. While it is `there`, what can be read of it is not all taken over yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = Path(f"{path}.damaged")
        self._log = Path(f"{path}.damaged-log")

    @property
    def there(self) -> bool:
        """Whether there is one."""
        return self._file.exists()

    def move_away(self) -> None:
        """Make it so, and leave nothing at the file's own names. A kill at any point leaves what this can go on with."""
        if not self.there:
            try:
                self._path.rename(self._file)
            except FileNotFoundError:
                self._file.touch(mode=0o600)
        if not self._path.exists():
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}-wal").rename(self._log)
        for ending in (
            "-wal",
            "-shm",
            "",
        ):  # of a taking over that was not ended: the log before the file whose log it is
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        sync_directory(self._path.parent)

    @contextlib.contextmanager
    def read(self, tables: Sequence[str]) -> Iterator[Rescue]:
        """What can be read of it. `tables` are the statements that make its tables."""
        with contextlib.closing(Salvage(self._file, self._log, tables)) as salvage:
            yield Rescue(salvage)

    def put_aside(self) -> str:
        """All is taken over: give it the name under which it is left for somebody to look at."""
        aside = f"{self._path}.bad-{time.time_ns()}"
        with contextlib.suppress(FileNotFoundError):
            self._log.rename(f"{aside}-log")
        self._file.rename(aside)
        sync_directory(self._path.parent)
        return aside


class Rescue:
    """Rows that make sense, as they belong into a new file. `unread` counts those that don't, and the places that can't be read."""

    def __init__(self, salvage: Salvage) -> None:
        self._salvage = salvage
        self._senseless = 0
        self.groups = self._groups()
        self.events = self._events()

    @property
    def unread(self) -> int:
        """So far."""
        return self._senseless + self._salvage.unread

    def _groups(self) -> Iterator[tuple[int, int, int, bytes, int]]:
        for group_id, data, checksum in self._salvage.rows("groups", COLUMNS["groups"][3:]):
            try:
                yield group_row(group_id, group_of(group_id, data, checksum))
            except Senseless:
                self._senseless += 1

    def _events(self) -> Iterator[tuple[str, bytes, bytes | None, int]]:
        for _, *row in self._salvage.rows("events", COLUMNS["events"]):
            try:
                yield event_row(*event_of(*row))
            except Senseless:
                self._senseless += 1
