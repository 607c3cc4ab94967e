"""A large search in virtual time: what the driver takes for it, and how busy its nodes are.

``python -m experiments.large_fleet [--nodes 1000] [--candidates 100000] [--in-flight 4000] [--losses-per-100-jobs 0]``.
Asked for: under 10 minutes of processor time and 2 GB; nodes busy for 99 % without faults, for 95 % with one lost in
the time of 100 jobs. The start is never beaten, so that every candidate is of about its size.
"""

import argparse
import resource

from rich.console import Console
from rich.table import Table

from experiments.long_run import config_of
from orchestrator.simulation.durations import Durations, Pace, images_of
from orchestrator.simulation.fleet import FromCosts
from orchestrator.simulation.forecast import Assumptions, simulate
from orchestrator.simulation.luck import Chances

HOURS = 1.0


def main() -> None:
    """Simulate it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=4000, help="by default 4 times the default nodes")
    parser.add_argument("--losses-per-100-jobs", type=float, default=0.0)
    asked = parser.parse_args()
    config = config_of(asked.candidates)
    fleet = config.fleet.model_copy(update={"num_workers": asked.nodes})
    serial = config.serial.model_copy(update={"in_flight": asked.in_flight})
    config = config.model_copy(update={"fleet": fleet, "serial": serial})
    images, _ = images_of(config)
    a_second = Durations(config, images, Pace(per_gmac_s=1.0))
    start_s = a_second.seconds("train_detector", config.start.spec, config.recipe("start"), num_nodes=1)
    durations = Durations(config, images, Pace(per_gmac_s=HOURS * 3600 / start_s))
    chances = Chances(loss=asked.losses_per_100_jobs / 100, improvement=0.0)
    forecast = simulate(config, Assumptions(times=FromCosts(durations), chances=chances))
    table = Table("what", "measured")
    table.add_row("ends", forecast.reason)
    table.add_row("nodes busy with candidates", f"{100 * forecast.busy:.2f} %")
    table.add_row("nodes busy in all", f"{100 * forecast.utilisation:.2f} %")
    table.add_row("attempts lost", str(forecast.tally.num_lost))
    table.add_row(
        "processor time", f"{forecast.driver_s:.0f} s, {1e3 * forecast.driver_s / forecast.num_jobs:.2f} ms a job"
    )
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table.add_row("peak memory", f"{peak_bytes / 2**30:.2f} GB")
    Console(width=None).print(table)


if __name__ == "__main__":
    main()
