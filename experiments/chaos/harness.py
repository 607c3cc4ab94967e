"""Runs scenarios, one after the other, on one cluster.

Invariant: what a scenario leaves behind is noted against it and taken away before the next one begins.
"""

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd

from experiments.chaos.beside import VARIABLE, beside
from experiments.chaos.bucket import CREDENTIALS, Bucket
from experiments.chaos.checks import Findings, check_files, trials_of
from experiments.chaos.cluster import Nodes
from experiments.chaos.drive import COMPLETE, REFUSED, STOPPED, drive
from experiments.chaos.faults import Fault, Plan
from experiments.chaos.processes import is_stopped, with_variable
from experiments.chaos.scenario import LIMIT_S, Scenario, Shape
from experiments.chaos.searches import config_of
from experiments.chaos.tampering import TAMPERINGS
from orchestrator.config import RunConfig
from workers.run_folder import RunFolder

TRAINERS = {"real": "experiments.chaos.trainers:FaultyNetwork"}
STUB_TRAINER = "experiments.chaos.trainers:FaultyStub"
TICK_S = 0.05
VANISH_S = 60.0
SHARED_MEMORY = Path("/dev/shm")
OF_RAY = re.compile(r"plasma|ray|sem\.")
OF_CLUSTER = re.compile(r"site-packages/ray/|ray::(IDLE|DashboardAgent|RuntimeEnvAgent)|multiprocessing|moto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a scenario came to."""

    scenario: Scenario
    findings: Findings
    seconds: float
    printed: str

    @property
    def failed(self) -> bool:
        """Whether anything was not as it must be."""
        return bool(self.findings.all())


class Harness:
    """A cluster, a folder for all runs, and the undisturbed runs to compare with."""

    def __init__(self, scratch: Path, set_variable: Callable[[str, str], None] = os.environ.__setitem__) -> None:
        """Start the cluster.

        Args:
            scratch: an empty folder for the runs.
            set_variable: sets a variable of the environment, which the cluster and all below it know.
        """
        self._scratch = scratch
        self._temporary = scratch / "tmp"
        self._temporary.mkdir()
        # Ray's own files lie apart, so that ours can be told; the names of its sockets must be short, too.
        places = {VARIABLE: str(scratch), "TMPDIR": str(self._temporary), "RAY_TMPDIR": tempfile.gettempdir()}
        for name, value in (CREDENTIALS | places).items():
            set_variable(name, value)
        self._nodes = Nodes()
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["experiments.chaos.drive", "pyarrow.parquet"])
        self._bucket: Bucket | None = None
        self._references: dict[tuple[str, int | None], pd.DataFrame] = {}
        self._count = 0

    def close(self) -> None:
        """End the cluster."""
        self._nodes.close()
        if self._bucket is not None:
            self._bucket.close()

    def shape(self, search: str) -> Shape:
        """What the undisturbed run of a search is like."""
        trials = self._reference(search, None)
        candidates = trials[(trials["role"] == "candidate") & (trials["phase"] == "serial")]
        return Shape(num_jobs=len(trials), failing=int(candidates["index"].iloc[1]), num_steps=4)

    def run(self, scenario: Scenario) -> Outcome:
        """Run one scenario and check all that it leaves."""
        expected = self._reference(scenario.search, scenario.fails[0] if scenario.fails else None)
        config = config_of(scenario.search, scenario.fleet)
        address = self._new_address(scenario)
        Plan.write(address, list(scenario.faults))
        findings = Findings()
        before = self._outside()
        begun = time.monotonic()
        self._live(scenario, config, address, begun + LIMIT_S[scenario.search], findings)
        seconds = time.monotonic() - begun
        plan = Plan(address)
        for number, fault in enumerate(plan.faults):
            if not plan.has_struck(number):
                findings.other.append(f"did not strike: {fault}")
        try:
            resumes = scenario.between != "truncated checkpoints" and scenario.rival != "zombie"
            check_files(findings, RunFolder(address), config, expected, scenario.fails, resumes=resumes)
        except (OSError, ValueError) as error:
            findings.other.append(f"its files can't be read: {error!r}")
        self._check_processes(findings)
        findings.left_over += [f"a file: {path}" for path in sorted(self._outside() - before)]
        output = beside(address, "output")
        outcome = Outcome(
            scenario=scenario,
            findings=findings,
            seconds=seconds,
            printed=output.read_text() if output.is_file() else "",
        )
        if not outcome.failed:
            self._forget(address)
        return outcome

    # ---- the drivers of a run --------------------------------------------------------------------------------------

    def _live(self, scenario: Scenario, config: RunConfig, address: str, until: float, findings: Findings) -> None:
        """Start drivers until one comes to the end."""
        for life in range(scenario.num_lives + 1):
            self._nodes.restore()
            if life == 1 and scenario.between:
                TAMPERINGS[scenario.between](Path(address))
            driver = self._start(scenario, config, address)
            if life == 0 and scenario.rival:
                driver = self._rival(scenario, config, address, driver, until, findings)
            if not self._ended(driver, until):
                driver.kill()
                driver.join()
                findings.other.append("did not end in time")
                return
            if driver.exitcode == COMPLETE:
                if life + 1 != scenario.num_lives:
                    findings.other.append(f"took {life + 1} drivers instead of {scenario.num_lives}")
                return
        findings.other.append(f"had not ended after {scenario.num_lives + 1} drivers")

    def _rival(
        self,
        scenario: Scenario,
        config: RunConfig,
        address: str,
        first: BaseProcess,
        until: float,
        findings: Findings,
    ) -> BaseProcess:
        """Start a second driver beside the first; the one that is left to wait for."""
        output = beside(address, "output")
        assert first.pid is not None
        if scenario.rival == "refused":
            self._wait(lambda: output.is_file() and "begins" in output.read_text(), until)
            second = self._start(scenario, config, address)
            if not self._ended(second, until) or second.exitcode != REFUSED:
                findings.other.append(f"a second driver was not refused, it ended with {second.exitcode}")
            return first
        pid = first.pid
        self._wait(lambda: is_stopped(pid), until)
        if scenario.storage == "local":  # as where a file system forgets a lock; an object store's runs out
            (Path(address) / "driver.lock").unlink()
        told = output.read_text().count("told")
        second = self._start(scenario, config, address)
        self._wait(lambda: output.read_text().count("told") > told + 1 or not second.is_alive(), until)
        os.kill(pid, signal.SIGCONT)
        if not self._ended(first, until) or first.exitcode != STOPPED:
            findings.other.append(f"the zombie was not stopped, it ended with {first.exitcode}")
        self._ended(second, until)
        if second.exitcode != COMPLETE:
            return second
        return self._start(scenario, config, address)  # a further driver takes away what the zombie has left

    def _start(self, scenario: Scenario, config: RunConfig, address: str) -> BaseProcess:
        trainer = TRAINERS.get(scenario.search, STUB_TRAINER)
        # What pyarrow has for S3 does not work in a process that was forked after it was loaded.
        context = self._processes if scenario.storage == "local" else multiprocessing.get_context("spawn")
        process = context.Process(
            target=drive, args=(config, address, trainer, self._nodes.address, beside(address, "output"))
        )
        process.start()
        return process

    def _ended(self, driver: BaseProcess, until: float) -> bool:
        self._wait(lambda: not driver.is_alive(), until)
        return not driver.is_alive()

    def _wait(self, condition: Callable[[], bool], until: float) -> None:
        """Wait for something to become so, putting new nodes in the place of dead ones meanwhile."""
        tick = threading.Event()
        while not condition() and time.monotonic() < until:
            self._nodes.restore()
            tick.wait(TICK_S)

    # ---- references, folders, remains ------------------------------------------------------------------------------

    def _reference(self, search: str, failing: int | None) -> pd.DataFrame:
        """The history of the undisturbed run, in which at most one job fails, by its own fault."""
        if (search, failing) not in self._references:
            faults = () if failing is None else (Fault(event="begin", action="nan", job=failing, times=0),)
            scenario = Scenario(kind="undisturbed", search=search, faults=faults)
            address = self._new_address(scenario)
            Plan.write(address, list(faults))
            findings = Findings()
            limit = time.monotonic() + LIMIT_S[search]
            self._live(scenario, config_of(search, {}), address, limit, findings)
            assert not findings.all(), f"{findings.all()}: {beside(address, 'output').read_text()}"
            self._references[search, failing] = trials_of(RunFolder(address))
            self._forget(address)
        return self._references[search, failing]

    def _new_address(self, scenario: Scenario) -> str:
        self._count += 1
        name = f"run-{self._count:04d}"
        if scenario.storage == "local":
            return str(self._scratch / name)
        if self._bucket is None:
            self._bucket = Bucket()
        return self._bucket.address(name)

    def _forget(self, address: str) -> None:
        name = beside(address, "").name.rstrip(".")
        for path in self._scratch.glob(f"{name}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _check_processes(self, findings: Findings) -> None:
        """Wait until all of the run's processes and actors are gone, and end what is not."""
        self._wait(
            lambda: not any(self._of_runs()) and not self._nodes.actors() and not self._nodes.num_objects(),
            time.monotonic() + VANISH_S,
        )
        if actors := self._nodes.actors():
            findings.left_over.append(f"actors: {', '.join(actors)}")
        if num_objects := self._nodes.num_objects():
            findings.left_over.append(f"{num_objects} objects in the object store")
        for pid, command in list(self._of_runs()):
            findings.left_over.append(f"process {pid}: {command}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _of_runs(self) -> Iterator[tuple[int, str]]:
        """Processes that runs have started: all that know the folder but Ray's own and our helpers."""
        for pid, command in with_variable(VARIABLE, str(self._scratch)):
            if not OF_CLUSTER.search(command):
                yield pid, command

    def _outside(self) -> set[Path]:
        """Files in shared memory and in the folder for temporary files, but Ray's."""
        places = [place for place in (SHARED_MEMORY, self._temporary) if place.is_dir()]
        return {path for place in places for path in place.iterdir() if not OF_RAY.match(path.name)}
