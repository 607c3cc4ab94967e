"""How many candidates are proposed and taken back in a second, and whether that stays so as the history grows.

A proposal is all that the driver does for one: decide, send off and tell, each entered into history and trials table.
*In memory* is the search alone; *record by record* each record is durable by itself before the next; *by turns* those
of a turn in which `PER_TURN` workers have finished are written together, as the driver does.
"""

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.made_up import MadeUpRun, long_config, propose
from experiments.benchmarks.turns import Finding, by_turns, ratios, seconds_of, spread
from orchestrator.history import History
from orchestrator.journal import Journal
from workers.storage import LocalFolder

SIZES = (1_000, 10_000, 100_000)
PER_TURN = 16
COUNTS = {"in memory": 400, "record by record": 48, "by turns": 400}
ASKED = {"in memory": 1000, "record by record": 100, "by turns": 1000}
REPEATS = 5


def bench_proposals(sizes: tuple[int, ...] = SIZES) -> list[Finding]:
    """Proposals per second at several lengths of the history."""
    found: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        config = long_config()
        journal = Journal(LocalFolder(Path(scratch)))
        run = MadeUpRun(History.fold(config, journal))
        journal.open_epoch()
        algorithm = config.build_algorithm()
        state = algorithm.initial()

        def in_memory() -> None:
            propose(algorithm, state, COUNTS["in memory"])

        def record_by_record() -> None:
            for turn in run.turns(COUNTS["record by record"], 1):
                for record in turn:
                    journal.append([record])

        def by_turn() -> None:
            for turn in run.turns(COUNTS["by turns"], PER_TURN):
                journal.append(turn)

        def rate(name: str, call: Callable[[], None]) -> Callable[[], float]:
            return lambda: COUNTS[name] / seconds_of(call)

        for size in sizes:
            propose(algorithm, state, size - len(state.population))
            for _ in run.turns(size - len(run.history.state.population), PER_TURN):
                pass
            gc.collect()
            calls = {"in memory": in_memory, "record by record": record_by_record, "by turns": by_turn}
            found[size] = by_turns({name: rate(name, call) for name, call in calls.items()}, REPEATS)
        journal.close()
    findings = [
        Finding(f"proposals per second, {name}, at {size:,}", spread(values, digits=0), f"at least {ASKED[name]:,}")
        for size, rates in found.items()
        for name, values in rates.items()
    ]
    first, last = sizes[0], sizes[-1]
    return findings + [
        Finding(f"{name}: at {last:,} / at {first:,}", spread(ratios(found[last][name], found[first][name])), "1: flat")
        for name in ASKED
    ]
