"""Of a configuration that is read anew: what a running service can take, and what waits for its next start. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from zmtwist.config.model import ZmNextConfig
from zmtwist.config.settings import Settings


def taken(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """`old` with what of `new` can be taken while workers run, and the names of keys whose change waits for the next start.

    Taken are `[zmnext] monitors`, `[[zmnext.monitor]]`, and of `[zmnext.pipeline]` all but how documents are delivered: they only decide
    which workers run, with which documents, and that is looked at anew at each reconcile.
    """
    config = attrs.evolve(old.config, zmnext=_zmnext(old.config.zmnext, new.config.zmnext))
    settings = attrs.evolve(old, config=config)
    waiting = tuple(_differences(config, new.config, ""))
    if not waiting and attrs.evolve(new, config=config) != settings:
        waiting = ("zm.conf",)
    return settings, waiting


def _zmnext(old: ZmNextConfig, new: ZmNextConfig) -> ZmNextConfig:
    pipeline = attrs.evolve(new.pipeline, delivery=old.pipeline.delivery, dir=old.pipeline.dir)
    return attrs.evolve(old, monitors=new.monitors, monitor=new.monitor, pipeline=pipeline)


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    for field in attrs.fields(type(old)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        name = f"{path}.{field.name}" if path else field.name
        if attrs.has(type(before)) and type(after) is type(before):
            yield from _differences(before, after, name)
        elif before != after:
            yield name
