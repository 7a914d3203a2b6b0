from hypothesis import given
from hypothesis import strategies as st

from zmtwist.changes import AddFrame, Change, ClipSaved, OpenEvent, Tally
from zmtwist.ingest.writer.change_queue import ChangeQueue


def frame(monitor: int, n: int) -> Change:
    return AddFrame(f"{monitor}.r.1", n, 0)


def opening(monitor: int) -> Change:
    return OpenEvent(handle=f"{monitor}.r.1", monitor_id=monitor, start_us=0, trigger="motion", cause="Motion")


def save(monitor: int) -> Change:
    return ClipSaved(handle=f"{monitor}.r.1", path="/x", duration_us=1, frames=1, tally=Tally())


def test_an_opening_passes_other_monitors_bulk():
    queue = ChangeQueue()
    queue.put(1, [frame(1, n) for n in range(100)])
    queue.put(2, [opening(2), frame(2, 1)])
    assert queue.take(1) == [opening(2)]


def test_a_save_takes_along_what_came_before_it():
    queue = ChangeQueue()
    queue.put(1, [frame(1, n) for n in range(100)])
    queue.put(2, [frame(2, 1), frame(2, 2), save(2), frame(2, 3)])
    assert queue.take(3) == [frame(2, 1), frame(2, 2), save(2)]


def test_without_bulk_only_openings_are_taken():
    queue = ChangeQueue()
    queue.put(1, [frame(1, 1), save(1)])
    queue.put(2, [frame(2, 1), opening(2), frame(2, 2)])
    assert queue.pressing
    assert (queue.of(1), queue.of(2)) == (2, 3)
    assert queue.take(10, bulk=False) == [opening(2)]
    assert not queue.pressing
    assert queue.take(10, bulk=False) == []
    assert len(queue) == 4
    assert queue.take(10) == [frame(1, 1), save(1), frame(2, 1), frame(2, 2)]


def test_bulk_is_shared_between_monitors():
    queue = ChangeQueue()
    queue.put(1, [frame(1, n) for n in range(1000)])
    queue.put(2, [frame(2, n) for n in range(1000)])
    batch = queue.take(100)
    assert sum(c.handle.startswith("1.") for c in batch) == 50
    assert len(queue) == 1900


change = st.builds(
    lambda m, n, kind: (m, [frame(m, n), opening(m), save(m)][kind]),
    st.integers(1, 4),
    st.integers(0, 9),
    st.integers(0, 2),
)


@given(st.lists(st.lists(change, max_size=8), max_size=12), st.integers(1, 7))
def test_nothing_is_lost_or_reordered_within_a_monitor_but_openings_pass(rounds, most):
    queue = ChangeQueue()
    put: dict[int, list[Change]] = {}
    taken: dict[int, list[Change]] = {}

    def apart(by_monitor: dict[int, list[Change]]) -> list[list[Change]]:
        items = sorted(by_monitor.items())
        return [
            [i for i in changes if isinstance(i, OpenEvent) is openings]
            for _, changes in items
            for openings in (True, False)
        ]

    def take() -> list[Change]:
        batch = queue.take(most)
        assert len(batch) <= most
        for item in batch:
            taken.setdefault(int(item.handle.split(".")[0]), []).append(item)
        return batch

    for one_round in rounds:
        for monitor, item in one_round:
            queue.put(monitor, [item])
            put.setdefault(monitor, []).append(item)
        take()
    while take():
        pass
    assert apart(taken) == apart(put)
    assert len(queue) == 0


@given(st.lists(change, max_size=40), st.integers(1, 30), st.integers(1, 7))
def test_only_bulk_gives_way_the_oldest_of_the_longest_first(items, most, batch):
    queue = ChangeQueue()
    for monitor, item in items:
        queue.put(monitor, [item])
    waiting = {m: [item for monitor, item in items if monitor == m] for m in {m for m, _ in items}}
    bulk = sum(isinstance(item, AddFrame) for _, item in items)
    dropped = queue.give_way(most)
    assert dropped == min(most, bulk)
    assert len(queue) == len(items) - dropped
    waiting = {m: sorted(was, key=lambda item: not isinstance(item, OpenEvent)) for m, was in waiting.items()}
    left: dict[int, list[Change]] = {m: [] for m in waiting}
    while taken := queue.take(batch):
        for item in taken:
            left[int(item.handle.split(".")[0])].append(item)
    for monitor, was in waiting.items():
        gone = len(was) - len(left[monitor])
        frames = [item for item in was if isinstance(item, AddFrame)]
        assert left[monitor] == [
            item for item in was if not (isinstance(item, AddFrame) and any(item is f for f in frames[:gone]))
        ]
