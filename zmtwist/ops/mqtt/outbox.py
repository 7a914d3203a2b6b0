"""What waits to be sent, with a bound: a broker that is away or slow costs this much memory and nothing else."""

from __future__ import annotations

from collections import deque

from zmtwist.ops.mqtt.messages import Message

MOST = 1000
"""Messages on what has happened that are kept; of what is retained only the latest counts, so there is one to a topic."""


class Outbox:
    """First in, first out; what is retained goes before all else. `dropped` counts what gave way, the oldest first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._retained: dict[str, Message] = {}
        self._others: deque[Message] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._retained) + len(self._others)

    def put(self, message: Message) -> None:
        """One more to send."""
        if message.retain:
            self._retained[message.topic] = message
            return
        self._others.append(message)
        if len(self._others) > self._most:
            self._others.popleft()
            self.dropped += 1

    def take(self) -> Message | None:
        """The next to send; None where nothing waits."""
        if self._retained:
            return self._retained.pop(next(iter(self._retained)))
        return self._others.popleft() if self._others else None

    def forget_retained(self) -> None:
        """All that is retained is told anew."""
        self._retained.clear()
