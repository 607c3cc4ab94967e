"""How long given jobs take on a fleet: what the driver's order rule costs, apart from any search.

Invariant: the jobs run as a search's candidates do, decided by the real driver while fewer than `in_flight` are pending
and told in order.
"""

from collections.abc import Sequence

from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.simulation.fleet import Delays, Listed
from orchestrator.simulation.forecast import Assumptions, simulate
from orchestrator.simulation.luck import Chances


def makespan(durations: Sequence[float], *, num_workers: int, in_flight: int, delays: Delays | None = None) -> float:
    """The time from the first candidate's start to the last one's end.

    Args:
        durations: of the candidates, in seconds, in the order in which they are decided.
        num_workers: workers, each of which does one at a time.
        in_flight: most candidates that may be pending.
        delays: what takes time beside training; by default nothing does.

    Returns:
        Seconds.
    """
    if not durations:
        return 0.0
    delays = delays or Delays(start_s=0.0, job_s=0.0)
    forecast = simulate(
        _config(len(durations), num_workers, in_flight),
        Assumptions(times=Listed((0.0, *durations)), chances=Chances(spread=0.0, improvement=0.0), delays=delays),
    )
    return forecast.parts["serial 1"].seconds


def _config(num_candidates: int, num_workers: int, in_flight: int) -> RunConfig:
    """A search that goes on for so many candidates; its start takes no time."""
    return parse_config(
        {
            "start": {"architecture": "BNB(111,d111,d11111,d11)"},
            "serial": {
                "acceptance": "paper",
                "num_morphs": 8,  # far more networks in reach than anybody asks for
                "n_stuck": num_candidates + in_flight,
                "reignite": False,
                "in_flight": in_flight,
            },
            "parallel": None,
            "budget": {"max_candidates": num_candidates},
            "data": {"format": "shapes"},
            "fleet": {"num_workers": num_workers},
        },
        "makespan",
    )
