"""Runs of studies, several side by side: each is a trial of Ray Tune, which gives it its workers when there is room.

Invariant: what a run has come to lies in its own folder, as any other's. Tune only says which of them go on at a time;
nothing of what it writes is read again, so whatever dies, the same command goes on with what is not finished.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from experiments.studying.study import CONFIGS, Finished, Run
from models.wording import brief, one_line
from orchestrator.config import FleetConfig, RunConfig
from orchestrator.config_files import differences, load_config, may_change
from orchestrator.driver import Driver
from orchestrator.environment import check_environment
from orchestrator.errors import RunStopped, UserError
from orchestrator.fleet import connect
from orchestrator.given import changes_from, put_given
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.live.publishing import ProgressFile
from orchestrator.live.telling import Teller
from orchestrator.metrics import MetricsObserver
from orchestrator.observers import Observers
from orchestrator.runs import RunLock, has_begun, open_run, storage_of, stored_config
from orchestrator.search.protocol import Done
from workers.run_folder import RunFolder

Tell = Callable[[str], None]

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the command's
    "RAY_AIR_NEW_OUTPUT": "0",  # the older one can be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths in configs are seen from where the command was given
}
"""What keeps Tune to its work."""


class Place:
    """Where the runs of studies are, and by which configs they go."""

    def __init__(self, root: str, configs: dict[str, Path] | None = None) -> None:
        """Name the folder, or s3://bucket/prefix, and configs in place of the studies' own, by their names."""
        self.root = storage_of(root).address.rstrip("/")
        self.configs = configs or {}

    def folder(self, name: str) -> RunFolder:
        """A run's files."""
        return RunFolder(storage_of(f"{self.root}/{name}"))

    def config(self, run: Run) -> RunConfig:
        """What a run is made with.

        Raises:
            UserError: for a config that can't be, or weights that are not there.
        """
        changes: dict[str, Any] = {"seed": run.seed, **run.changes}
        if run.command != "search":
            changes["algorithm"] = run.command
        if run.origin is not None:
            name, job = run.origin
            changes |= changes_from(f"{self.root}/{name}", self.folder(run.name), job)
        given = self.configs.get(run.config, self.configs.get(run.data))
        path = CONFIGS / f"{run.config}.yaml" if given is None else given
        config = load_config(path, (), changes)
        if run.candidates == 1:
            return config
        if config.serial.max_candidates is None:
            raise UserError(
                f"config {path}: serial.max_candidates: null, but {run.arm} has a share of them, to cost what others "
                "do; give a number"
            )
        fewer = max(1, round(run.candidates * config.serial.max_candidates))
        return load_config(path, (), changes | {"serial.max_candidates": fewer})

    def finished(self, run: Run) -> Finished | None:
        """What a run has come to, None if it has not come to its end.

        Raises:
            UserError: if what is there was made with another config.
        """
        folder = self.folder(run.name)
        if not has_begun(folder):
            return None
        config = stored_config(folder)
        best: dict[int, float] = {}

        def note_best(history: History, record: Record) -> None:
            if record["type"] == "told" and (so_far := record["state"]["best_overall"]):
                best[record["outcome"]["index"]] = so_far["score"]

        history = History.fold(config, Journal(folder.storage), note_best)
        if not history.ended or not isinstance(history.algorithm.decide(history.state), Done):
            return None
        changed = differences(config, self.config(run))
        if fixed := [key for key in changed if not may_change(key)]:
            raise UserError(
                f"run {folder.address}: was made with {fixed[0]} {brief(changed[fixed[0]][0])}, but the study "
                f"asks for {brief(changed[fixed[0]][1])}; name another --root, or remove that folder"
            )
        trials = history.trials.to_frame()
        return Finished(
            run=run, config=config, state=history.state, trials=trials.assign(best=trials["index"].map(best))
        )


def carry_out(place: Place, run: Run, tell: Tell) -> str:
    """Begin a run or go on with it, to its end; see `orchestrator.carry_out`, which does so for one who watches.

    Returns:
        Why it ended.

    Raises:
        OSError: where storage fails.
        RunStopped: when it can't go on by itself.
        UserError: for what the user got wrong.
    """
    config = place.config(run)
    storage = place.folder(run.name).storage
    lock = RunLock(storage)
    if not lock.acquire():
        raise UserError(f"run {storage.address}: another driver works on it; wait for it, or end it")
    try:
        folder, changed = open_run(config, storage)
        put_given(config, folder)
        teller = Teller(config, ProgressFile(folder, tell))
        try:
            observers = Observers(teller, MetricsObserver(config, folder.name, tell))
            return Driver(config, folder, observers, still_ours=lock.verify).run(changed)
        finally:
            teller.close()
    finally:
        lock.release()


def carry_out_all(place: Place, runs: Sequence[Run], tell: Tell) -> None:
    """Bring runs to their ends, as many at a time as the cluster has workers for.

    Args:
        place: where they are.
        runs: none of which needs another's weights.
        tell: told a line for each that ends.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
        RunStopped: if some have not come to their end; the others have.
        UserError: for what the user got wrong.
    """
    configs = {run.name: place.config(run) for run in runs}
    _check(configs.values())
    by_name = {run.name: run for run in runs}

    def bring_to_its_end(trial: dict[str, str]) -> None:
        try:
            reason = carry_out(place, by_name[trial["run"]], print)
            # A budget or `spnas stop` may have ended it early.
            tune.report({"reason": reason, "stopped": place.finished(by_name[trial["run"]]) is None})
        except (OSError, RunStopped, UserError) as error:
            tune.report({"reason": one_line(str(error)), "stopped": True})

    def resources(trial: dict[str, str]) -> tune.PlacementGroupFactory:
        fleet = configs[trial["run"]].fleet
        worker = {"CPU": float(fleet.cpus_per_worker), "GPU": float(fleet.gpus_per_worker)}
        # The driver's own process waits nearly all of its time.
        return tune.PlacementGroupFactory([{}, *([worker] * fleet.num_workers)])

    widest = max(fleet.num_workers * fleet.cpus_per_worker for fleet in (config.fleet for config in configs.values()))
    connect(FleetConfig(num_workers=max(os.cpu_count() or 1, widest)))
    if (there := ray.cluster_resources().get("CPU", 0)) < widest:  # type: ignore[no-untyped-call]
        tell(f"the cluster has {there:g} CPUs by now; runs that need {widest} wait until there are as many")
    watcher = _Watcher(len(runs), tell)
    for name in QUIET:
        os.environ.setdefault(name, QUIET[name])
    with TemporaryDirectory(prefix="spnas-study-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(bring_to_its_end, resources),
            param_space={"run": tune.grid_search(list(by_name))},
            run_config=tune.RunConfig(name="runs", storage_path=scratch, verbose=0, callbacks=[watcher]),
        )
        tuner.fit()
    if watcher.failed:
        raise RunStopped("; ".join(f"{name}: {reason}" for name, reason in watcher.failed.items()))


def _check(configs: Iterable[RunConfig]) -> None:
    """See that machine and data can bear these runs; a data set is opened once for all that ask the same of it."""
    checked: set[str] = set()
    for config in configs:
        asked = config.model_dump_json(include={"data", "training", "reignition", "final", "fleet"})
        if asked not in checked:
            check_environment(config)
            checked.add(asked)


class _Watcher(tune.Callback):
    """Tells what ends."""

    def __init__(self, total: int, tell: Tell) -> None:
        """None of `total` has ended yet."""
        self.failed: dict[str, str] = {}
        self._total, self._tell, self._ended = total, tell, 0

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """One has come to its end, or stopped."""
        reason = str(trial.last_result.get("reason"))
        if trial.last_result.get("stopped"):
            self._stop(trial, reason)
        else:
            self._end(trial, reason)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The process of one has died, or there is a mistake of ours."""
        self._stop(trial, one_line(str(trial.get_error() or "its process has died")))

    def _stop(self, trial: Trial, reason: str) -> None:
        self.failed[trial.config["run"]] = reason
        self._end(trial, f"stopped: {reason}")

    def _end(self, trial: Trial, what: str) -> None:
        self._ended += 1
        self._tell(f"{self._ended} of {self._total}  {trial.config['run']}: {what}")
