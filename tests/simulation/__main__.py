"""`python -m tests.simulation 1000..3000`, `5000` for the first 5,000 seeds, `--seed 51` for one and all that happens in it."""

from __future__ import annotations

import argparse
import sys
import time

from twisted.logger import globalLogBeginner

from tests.simulation.scenario import little_garbage, simulate
from tests.simulation.stories import SEASON, STORIES

TELLINGS = range(5)
"""How often a story is told, with other chances each time."""


def seeds(text: str) -> range:
    """`7..9` is from 7 up to 8, `9` from 0 up to 8."""
    first, dots, end = text.partition("..")
    return range(int(first), int(end)) if dots else range(int(first))


def main() -> int:
    """Run the seeds, name those that fail and how to repeat them; 1 if any did."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seeds", type=seeds, nargs="*", help="FIRST..END (END is not one of them), or how many")
    parser.add_argument("--seed", type=int, action="append", default=[], help="run this one, and tell all that happens")
    parser.add_argument(
        "--story", choices=STORIES, action="append", default=[], help="one of `stories`, and all that happens in it"
    )
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False, discardBuffer=True)
    several = [seed for some in options.seeds for seed in some]
    failed = 0
    begun = time.monotonic()
    with little_garbage():
        for seed in (*options.seed, *several):
            world = simulate(seed).world
            if seed in options.seed:
                print("\n".join(world.trace))
            if world.violations:
                failed += 1
                print(f"seed {seed}: {world.violations[0]}\n    {repeat(seed)}", flush=True)
        for name in options.story:
            for seed in TELLINGS:
                world = simulate(seed, course=STORIES[name], season=SEASON.get(STORIES[name], "none")).world
                print("\n".join(world.trace))
                if world.violations:
                    failed += 1
                    print(f"story {name}: {world.violations[0]}", flush=True)
    print(f"{len(several) + len(options.seed) + len(options.story) * len(TELLINGS)} seeds, {failed} failed")
    print(f"{time.monotonic() - begun:.1f} s", file=sys.stderr)
    return 1 if failed else 0


def repeat(seed: int) -> str:
    """The command that runs this seed again."""
    return f"repeat it with: make simulate SEED={seed}"


if __name__ == "__main__":
    sys.exit(main())
