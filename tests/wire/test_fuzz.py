"""Twenty thousand mutated messages, the same each time; `make fuzz` takes a million, others each time."""

from __future__ import annotations

from tests.wire.fuzz import fuzz


def test_mutated_messages_bring_about_nothing_but_the_decoders_one_error() -> None:
    way = fuzz(20_000, seed=20261128)
    assert way.untrusted > 50
    assert len([kind for kind, count in way.kinds.items() if count > 10]) > 25, way.kinds
