"""The kinds of scenarios, and how one of a kind is drawn.

Invariant: a scenario is a function of seed, number and the shape of the undisturbed run; drawing one draws no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from experiments.chaos.faults import HALF, Fault

HANG_MINUTES = 1 / 10  # what is alive may be silent for so long on a busy machine
LIMIT_S = {"steady": 240.0, "paired": 240.0, "real": 600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is known of a search's undisturbed run.

    Attributes:
        num_jobs: how many jobs it has.
        failing: a job that may fail without stopping the run, a candidate's.
        num_steps: signs of life that the training of each job gives at least.
    """

    num_jobs: int
    failing: int
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run and what happens to it.

    Attributes:
        kind: a key of `KINDS`.
        search: which search, a key of `searches.SEARCHES`.
        faults: what strikes.
        storage: where its files are.
        between: what is done to its files after the first driver's end, a key of `tampering.TAMPERINGS`.
        rival: a second driver: refused while the first lives, or in the place of a first that was only asleep.
        fails: the job that is to be told as failed, and what its reason says.
        fleet: keys of the config's fleet.
    """

    kind: str
    search: str
    faults: tuple[Fault, ...] = ()
    storage: Literal["local", "object"] = "local"
    between: str = ""
    rival: Literal["", "refused", "zombie"] = ""
    fails: tuple[int, str] | None = None
    fleet: dict[str, Any] = field(default_factory=dict)

    @property
    def moment(self) -> str:
        """When it is struck, in words."""
        return ", ".join(map(str, self.faults)) or "-"

    @property
    def num_lives(self) -> int:
        """How many drivers it takes."""
        return 1 + sum(fault.ends_driver for fault in self.faults)


Draw = Callable[[Random, Shape], dict[str, Any]]


def at_step(action: str, *, fleet: dict[str, Any] | None = None, **values: Any) -> Draw:
    """A fault at a sign of life."""

    def draw(random: Random, shape: Shape) -> dict[str, Any]:
        return {"faults": (_step(random, shape, action, **values),), "fleet": fleet or {}}

    return draw


def at(events: Sequence[str], actions: Sequence[str], whens: Sequence[str], **values: Any) -> Draw:
    """A fault at something that a job comes to once."""

    def draw(random: Random, shape: Shape) -> dict[str, Any]:
        fault = Fault(
            event=random.choice(events),
            action=random.choice(actions),
            when=random.choice(whens),
            job=random.randrange(shape.num_jobs),
        )
        return {"faults": (fault,), **values}

    return draw


def at_any(events: Sequence[str], actions: Sequence[str], whens: Sequence[str]) -> Draw:
    """A fault at the first such event that comes."""

    def draw(random: Random, shape: Shape) -> dict[str, Any]:
        fault = Fault(event=random.choice(events), action=random.choice(actions), when=random.choice(whens))
        return {"faults": (fault,)}

    return draw


def _step(random: Random, shape: Shape, action: str, **values: Any) -> Fault:
    return Fault(
        event="step",
        action=action,
        when="after",
        job=random.randrange(shape.num_jobs),
        step=random.randint(1, shape.num_steps),
        **values,
    )


def _slow_storage(random: Random, shape: Shape) -> dict[str, Any]:
    events = random.sample(("weights", "result", "checkpoint", "told", "dispatched", "delete"), 3)
    return {"faults": tuple(Fault(event=event, action="slow", times=0, seconds=0.05) for event in events)}


def _several_nodes(random: Random, shape: Shape) -> dict[str, Any]:
    return {"faults": tuple(_step(random, shape, "kill node") for _ in range(2))}


def _first_record(random: Random, shape: Shape) -> dict[str, Any]:
    killed = Fault(event="told", action="kill", when="after", job=random.randrange(shape.num_jobs))
    again = Fault(event="opened", action="kill", when=random.choice(("before", HALF, "after")), job=2)
    return {"faults": (killed, again)}


def _again_and_again(random: Random, shape: Shape) -> dict[str, Any]:
    jobs = sorted(random.sample(range(shape.num_jobs), 3))
    whens = ("before", HALF, "after")
    return {"faults": tuple(Fault(event="told", action="kill", when=random.choice(whens), job=job) for job in jobs)}


def _killed_by_rank(random: Random, shape: Shape) -> dict[str, Any]:
    return {"faults": (_step(random, shape, random.choice(("kill driver", "terminate driver"))),)}


def _tampered(between: str) -> Draw:
    def draw(random: Random, shape: Shape) -> dict[str, Any]:
        return {"faults": (_step(random, shape, "kill driver"),), "between": between}

    return draw


def _zombie(storage: str) -> Draw:
    def draw(random: Random, shape: Shape) -> dict[str, Any]:
        event = random.choice(("told", "dispatched"))
        frozen = Fault(event=event, action="freeze", when="after", job=random.randrange(shape.num_jobs // 2))
        return {"faults": (frozen,), "rival": "zombie", "storage": storage, "fleet": {"num_workers": 1}}

    return draw


def _refused(random: Random, shape: Shape) -> dict[str, Any]:
    slow = Fault(event="step", action="slow", when="after", job=random.randrange(shape.num_jobs), step=1, seconds=3.0)
    return {"faults": (slow,), "rival": "refused"}


def _candidate(random: Random, shape: Shape) -> dict[str, Any]:
    action, reason = random.choice(
        (("nan", "loss became nan"), ("memory", "out of memory"), ("error", "ValueError: as the plan has it"))
    )
    fails = Fault(
        event="step", action=action, when="after", job=shape.failing, step=random.randint(1, shape.num_steps), times=0
    )
    other = random.choice([job for job in range(shape.num_jobs) if job != shape.failing])
    killed = Fault(event="step", action="kill actor", when="after", job=other, step=1)
    return {"faults": (fails, killed), "fails": (shape.failing, reason)}


def _twice(random: Random, shape: Shape) -> dict[str, Any]:
    action, reason = random.choice(
        (("kill", "SIGKILL"), ("crash", "SIGSEGV"), ("exit", "exit code 3"), ("sleep", "no sign of life"))
    )
    fault = Fault(event="step", action=action, when="after", job=shape.failing, step=1, times=2)
    return {"faults": (fault,), "fails": (shape.failing, reason), "fleet": {"stall_minutes": HANG_MINUTES}}


def _storm(random: Random, shape: Shape) -> dict[str, Any]:
    actions = ("kill", "crash", "exit", "leave child", "kill actor", "kill node", "kill driver", "slow")
    jobs = random.sample(range(shape.num_jobs), 4)
    strikes = [
        Fault(event="step", action=action, when="after", job=job, step=random.randint(1, shape.num_steps), seconds=0.5)
        for job, action in zip(jobs, random.sample(actions, 4), strict=True)
    ]
    told = Fault(event="told", action="kill", when=random.choice(("before", HALF, "after")), job=jobs[0])
    return {"faults": (*strikes, told)}


HANGS = {"stall_minutes": HANG_MINUTES}
MOMENTS = ("before", HALF, "after")
DRIVER_ENDS = ("decided", "dispatched", "told")

KINDS: dict[str, Draw] = {
    "rank killed": at_step("kill"),
    "rank crashes": at_step("crash"),
    "rank exits": at_step("exit"),
    "rank sleeps": at_step("sleep", fleet=HANGS),
    "rank deadlocks in C": at_step("deadlock", fleet=HANGS),
    "rank frozen": at_step("freeze", fleet=HANGS),
    "rank dies, leaves a child": at_step("leave child"),
    "rank killed at its weights": at(["weights"], ["kill"], MOMENTS),
    "rank killed at a checkpoint": at(["checkpoint"], ["kill"], MOMENTS),
    "rank's disk full": at(["weights", "checkpoint"], ["full disk"], ["before"]),
    "slow steps": at_step("slow", seconds=1.0),
    "slow storage": _slow_storage,
    "actor killed": at_step("kill actor"),
    "actor killed before its result": at(["result"], ["kill"], ["before", HALF]),
    "actor's answer lost": at(["result"], ["kill"], ["after"]),
    "actor's disk full": at(["result"], ["full disk"], ["before"]),
    "actor frozen": at_step("freeze actor", fleet={"unreachable_minutes": HANG_MINUTES}),
    "node killed": at_step("kill node"),
    "two nodes killed": _several_nodes,
    "driver killed before a record": at(DRIVER_ENDS, ["kill"], ["before"]),
    "driver killed after a record": at(DRIVER_ENDS, ["kill"], ["after"]),
    "driver killed amid an append": at(DRIVER_ENDS, ["kill"], [HALF]),
    "driver killed at an epoch's first record": _first_record,
    "driver killed at the end": at_any(["ended"], ["kill"], MOMENTS),
    "driver killed at the table": at_any(["trials"], ["kill"], MOMENTS),
    "driver killed at a deletion": at_any(["delete"], ["kill"], ["before", "after"]),
    "driver killed amid a training": _killed_by_rank,
    "driver asked to end": at(DRIVER_ENDS, ["terminate", "interrupt"], ["after"]),
    "driver's disk full": at([*DRIVER_ENDS], ["full disk"], ["before"]),
    "driver killed three times": _again_and_again,
    "journal's tail torn": _tampered("torn tail"),
    "checkpoints truncated": _tampered("truncated checkpoints"),
    "leftovers of the dead": _tampered("leftovers"),
    "second driver refused": _refused,
    "zombie driver": _zombie("local"),
    "object store: rank or actor killed": at(["weights", "result", "checkpoint"], ["kill"], MOMENTS, storage="object"),
    "object store: driver killed": at(DRIVER_ENDS, ["kill"], MOMENTS, storage="object"),
    "object store: zombie driver": _zombie("object"),
    "candidate fails": _candidate,
    "candidate crashes or hangs twice": _twice,
    "storm": _storm,
}
REAL_KINDS = (
    "rank killed",
    "rank killed at a checkpoint",
    "rank deadlocks in C",
    "actor killed",
    "actor's answer lost",
    "node killed",
    "driver killed amid a training",
    "driver killed amid an append",
    "candidate fails",
    "storm",
)


def draw(seed: int, number: int, kind: str, search: str, shape: Shape) -> Scenario:
    """The scenario of a number."""
    values = KINDS[kind](Random(f"{seed} {number}"), shape)
    if search == "real" and "stall_minutes" in values.get("fleet", {}):
        values["fleet"] = {"stall_minutes": 10 * HANG_MINUTES}
    return Scenario(kind=kind, search=search, **values)


def chosen(num_scenarios: int, num_real: int) -> list[tuple[int, str, str]]:
    """(number, kind, search) of as many scenarios, over all kinds evenly; the numbers of the real ones come after."""
    kinds, searches = list(KINDS), ("steady", "paired")
    stubs = [
        (number, kinds[number % len(kinds)], searches[(number % len(kinds) + number // len(kinds)) % 2])
        for number in range(num_scenarios)
    ]
    real = [(num_scenarios + number, REAL_KINDS[number % len(REAL_KINDS)], "real") for number in range(num_real)]
    return stubs + real
