"""A storage, as its disk makes it: full, or away for a while, with or without an empty directory in its place."""

from __future__ import annotations

import shutil
from pathlib import Path


class Storage:
    """`root` is where it is mounted; what is on its disk is at `disk`, which is the same while it is mounted."""

    def __init__(self, root: Path) -> None:
        self.root = self.disk = root
        self.full = False
        self.mounted = True
        self.times = 0
        self.was_replaced = False
        """There was a directory in its place, which a service may have taken for it, from its start on."""
        root.mkdir()

    @property
    def there(self) -> bool:
        """Whether there is a directory to write below, be it the storage or not."""
        return self.root.is_dir()

    @property
    def takes_files(self) -> bool:
        return self.there and not self.full

    def unmount(self, *, leave_directory: bool) -> None:
        """The disk goes; what is written to the directory in its place is beneath it once the disk is back."""
        if not self.mounted:
            return
        self.mounted, self.disk = False, self.root.with_name(f"{self.root.name}-disk")
        self.root.rename(self.disk)
        self.was_replaced = self.was_replaced or leave_directory
        if leave_directory:
            self.root.mkdir()

    def mount(self) -> None:
        if self.mounted:
            return
        if self.there:
            shutil.rmtree(self.root)
        self.disk.rename(self.root)
        self.mounted, self.disk = True, self.root
        self.times += 1

    @property
    def file_system(self) -> tuple[int, int]:
        """What the file system at `root` calls itself, and its device, whose number may be another each time."""
        name = sum(map(ord, self.root.name))
        return (name, 100 + self.times) if self.mounted else (1, 1)

    def on_disk(self, path: Path) -> Path:
        """Where a file of the storage is, mounted or not."""
        return self.disk / path.relative_to(self.root)
