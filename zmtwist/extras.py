"""What is offered only where an extra of the package is installed (`pip install 'zmtwist[video]'`). Nothing of it is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import attrs


@attrs.frozen
class Extra:
    """An extra by its name, and what it `offers`. The `distribution` tells whether it is installed; its `oldest` major version will do."""

    name: str
    distribution: str
    oldest: int
    offers: str

    @property
    def remedy(self) -> str:
        """How to have it."""
        return f"pip install 'zmtwist[{self.name}]'"


VIDEO = Extra("video", "av", 18, "live view, clips as MP4, thumbnails, lengths of clips after a crash")
EXTRAS = (
    VIDEO,
    Extra("conch", "bcrypt", 0, "the manhole"),
    Extra("mqtt", "paho-mqtt", 2, "MQTT"),
)


@cache
def major_version(distribution: str) -> int | None:
    """Of what is installed; None where it is not."""
    try:
        return int(version(distribution).partition(".")[0])
    except (PackageNotFoundError, ValueError):
        return None


def missing() -> Iterator[Extra]:
    """Those that are not installed, or too old."""
    for extra in EXTRAS:
        found = major_version(extra.distribution)
        if found is None or found < extra.oldest:
            yield extra
