"""Makes the edits of `mutants.toml` one by one in a copy of the tree, and runs the tests that must find each: `make mutants`.

Prints those that no test found, and ends with status 1 if there are any. `tools/mutants.py jitter spool` takes only those whose name or
file has one of the words in it; `--list` only names them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
SECONDS = 900
"""An edit whose tests take longer has been found: they hang."""

TRIES = 3
"""So often are tests run that somebody has killed."""

FAILED_TESTS = 1
"""pytest's status where tests failed; others mean that they could not be run."""


@dataclass(frozen=True)
class Mutant:
    """One edit. `name` says what it breaks; `before`, which occurs once in `file`, becomes `after`; `tests` are pytest's arguments."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    def text(self, root: Path = ROOT) -> str:
        """The file with the edit. Raises ValueError where its text does not occur exactly once."""
        text = (root / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.before)) != 1:
            raise ValueError(f"'{self.name}': its text occurs {count} times in {self.file}, not once")
        return text.replace(self.before, self.after)


def mutants() -> list[Mutant]:
    """All that are listed."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**one, "tests": tuple(one["tests"])}) for one in listed]


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """pytest's status and output in that tree; the status of failed tests where they take too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(TRIES):
        try:
            done = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS, errors="replace"
            )
        except subprocess.TimeoutExpired:
            return FAILED_TESTS, "they took too long"
        if done.returncode >= 0:
            break
    return done.returncode, done.stdout + done.stderr


@contextmanager
def copies(count: int) -> Iterator[SimpleQueue[Path]]:
    """So many copies of the tree as it is now, the files that are not yet committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    with tempfile.TemporaryDirectory(prefix="zmtwist-mutants-") as directory:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            tree = Path(directory, str(number))
            for name in filter(None, listed.stdout.split("\0")):
                if (ROOT / name).is_file():
                    (tree / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, tree / name)
            (tree / ".cache").symlink_to(ROOT / ".cache")  # what the set-up fetched: ZoneMinder's schema
            trees.put(tree)
        yield trees


def try_one(mutant: Mutant, trees: SimpleQueue[Path]) -> tuple[int, str]:
    """What its tests say of it."""
    tree = trees.get()
    file = tree / mutant.file
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(mutant.text(tree), encoding="utf-8")
        return run_tests(tree, mutant.tests)
    finally:
        file.write_text(before, encoding="utf-8")
        trees.put(tree)


def main() -> int:
    """Try the mutants that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only those whose name or file has one of these in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--list", action="store_true", help="name them, and do nothing")
    options = parser.parse_args()
    chosen = [m for m in mutants() if not options.words or any(w in f"{m.name} {m.file}" for w in options.words)]
    if options.list:
        print("\n".join(f"{m.file}: {m.name}" for m in chosen))
        return 0
    with copies(options.jobs) as trees, ThreadPoolExecutor(options.jobs) as pool:
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        tree = trees.get()
        status, said = run_tests(tree, tests)
        trees.put(tree)
        if status:
            print(f"{said[-3000:]}\nthe tests fail without any edit: status {status}")
            return 1
        survivors = []
        for mutant, (status, said) in zip(chosen, pool.map(lambda m: try_one(m, trees), chosen), strict=True):
            found = status == FAILED_TESTS
            print(f"{'found   ' if found else 'SURVIVES'} {mutant.name} ({mutant.file})", flush=True)
            if not found:
                survivors.append(mutant)
                if status:
                    print(f"{said[-2000:]}\nthe tests could not be run: status {status}")
    print(f"{len(chosen)} mutants, {len(survivors)} that no test found")
    for mutant in survivors:
        print(f"  {mutant.name}: {mutant.file}, {' '.join(mutant.tests)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
