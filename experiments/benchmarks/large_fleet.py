"""A large search in virtual time: what the real driver takes for it, and how busy its nodes are.

Invariant: the search moves on, or hardly anything new would be left around its start; each search has a process of its
own, so that its peak of memory is its own.
"""

import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from experiments.benchmarks.long_run import config_of
from experiments.benchmarks.turns import Finding
from orchestrator.simulation.durations import Durations, Pace, images_of
from orchestrator.simulation.fleet import FromCosts
from orchestrator.simulation.forecast import Assumptions, Forecast, simulate
from orchestrator.simulation.luck import Chances

IN_FLIGHT_PER_NODE = 4
IMPROVEMENT = 0.0005
"""How likely a child of the start is better; of later baselines it is less, so that there are some twenty."""

MAX_BLOCKS = 200
"""With the default's 60 the networks would stop growing, and those in reach would soon all be known."""

HOURS = 1.0
"""What the start's training takes."""

LOSSES = {0.0: "99 %", 0.01: "95 %"}
"""Nodes that are lost in the time of a job, and how busy the others are to be."""


def bench_large_fleet(nodes: int = 1000, candidates: int = 100_000) -> list[Finding]:
    """Processor time, memory and how busy the nodes are, without losses and with them.

    Args:
        nodes: how many.
        candidates: how many are trained.
    """
    findings = []
    for loss, busy in LOSSES.items():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own_process:
            forecast, peak_bytes = own_process.submit(searched, nodes, candidates, loss).result()
        about = f"{nodes:,} nodes, {candidates:,} candidates, {100 * loss:g} nodes lost per 100 jobs"
        a_job = 1e3 * forecast.driver_s / forecast.num_jobs
        findings += [
            Finding(f"{about}: ends", forecast.reason),
            Finding(
                "nodes busy, until the last candidate is sent off",
                f"{100 * forecast.busy_before_last_wave:.2f} %",
                f"at least {busy}",
            ),
            Finding("nodes busy, until the last one ends", f"{100 * forecast.busy:.2f} %"),
            Finding("nodes busy, the start's time and their own included", f"{100 * forecast.utilisation:.2f} %"),
            Finding("attempts lost", f"{forecast.tally.num_lost:,}"),
            Finding("processor time", f"{forecast.driver_s:.0f} s, {a_job:.2f} ms a job", "under 600 s"),
            Finding("peak memory", f"{peak_bytes / 2**30:.2f} GB", "under 2 GB"),
        ]
    return findings


def searched(nodes: int, candidates: int, loss: float) -> tuple[Forecast, int]:
    """Go through it; also returns the peak of this process's memory, in bytes."""
    config = config_of(candidates)
    fleet = config.fleet.model_copy(update={"num_workers": nodes})
    serial = config.serial.model_copy(update={"in_flight": IN_FLIGHT_PER_NODE * nodes, "max_blocks": MAX_BLOCKS})
    config = config.model_copy(update={"fleet": fleet, "serial": serial})
    images, _ = images_of(config)
    a_second = Durations(config, images, Pace(per_gmac_s=1.0))
    start_s = a_second.seconds("train_detector", config.start.spec, config.recipe("start"), num_nodes=1)
    durations = Durations(config, images, Pace(per_gmac_s=HOURS * 3600 / start_s))
    chances = Chances(loss=loss, improvement=IMPROVEMENT)
    forecast = simulate(config, Assumptions(times=FromCosts(durations), chances=chances))
    return forecast, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
