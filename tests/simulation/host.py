"""One run's hold on the world: a reactor that does nothing any more once the service was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.simulation.world import World


@implementer(IReactorTime, IReactorProcess)
class Host:
    """The reactor of one run of the service: when that is killed, nothing that it was about to do happens any more."""

    def __init__(self, world: World, machine: str, spawn: Callable[..., Any]) -> None:
        self.world, self.machine = world, machine
        self.dead = False
        self.stopping = False
        self.at_death: list[Callable[[], None]] = []
        self._spawn = spawn

    def seconds(self) -> float:
        return self.world.seconds()

    def callLater(self, delay: float, function: Callable[..., object], *args: object, **kwargs: object) -> Any:
        return self.world.callLater(max(0.0, delay), self._call, function, args, kwargs)

    def callFromThread(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        self.callLater(0.0, function, *args, **kwargs)

    def _call(self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if not self.dead:
            function(*args, **kwargs)

    def getDelayedCalls(self) -> list[Any]:
        return [call for call in self.world.getDelayedCalls() if call.func == self._call]

    def left_over(self) -> list[str]:
        """What of the product still waits for its time."""
        functions = (call.args[0] for call in self.getDelayedCalls())
        return [repr(function) for function in functions if _of_the_product(function)]

    def getThreadPool(self) -> Threads:
        return Threads(self)

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], **kwargs: Any) -> Any:
        return self._spawn(self, protocol, args, kwargs["childFDs"])

    def stop(self) -> None:
        self.stopping = True

    def die(self) -> None:
        self.dead = True
        for function in self.at_death:
            function()


class Threads:
    """The reactor's own threads."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def callInThreadWithCallback(self, told: Any, function: Any, *args: Any, **kwargs: Any) -> None:
        host = self._host

        def work() -> None:
            try:
                result, well = function(*args, **kwargs), True
            except Exception:
                result, well = Failure(), False
            host.callLater(0.0001, told, well, result)

        host.callLater(host.world.chance.uniform(0.0005, 0.003), work)


def _of_the_product(function: Any) -> bool:
    module = getattr(getattr(function, "__func__", function), "__module__", None) or ""
    return not module.startswith("tests.")
