"""Runs of studies, several side by side: each is a trial of Ray Tune, which gives it its workers when there is room.

Invariant: what a run has come to lies in its own folder, as any other's. Tune only says which of them go on at a time;
nothing of what it writes is read again, so whatever dies, the same command goes on with what is not finished.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from experiments.studying.study import CONFIGS, Finished, Run
from models.wording import brief, one_line
from orchestrator.carry_out import drive
from orchestrator.config import FleetConfig, RunConfig
from orchestrator.config_files import differences, load_config, may_change
from orchestrator.environment import check_environment
from orchestrator.errors import RunStopped, UserError
from orchestrator.fleet import connect
from orchestrator.given import changes_from
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.live.screen import make_view
from orchestrator.recorders.recording import check_recorders
from orchestrator.runs import has_begun, storage_of, stored_config
from orchestrator.search.protocol import Done
from orchestrator.terminal import make_console
from orchestrator.termination import noting_interruption
from workers.run_folder import RunFolder

Tell = Callable[[str], None]

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the command's
    "RAY_AIR_NEW_OUTPUT": "0",  # the older one can be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths in configs are seen from where the command was given
}
"""What keeps Tune to its work."""

INTERRUPTED = "interrupted"


class NoOrigin(UserError):
    """What a run is to start from has come to nothing, or is gone: a fault of that one alone."""


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
            NoOrigin: for weights that are not there.
            UserError: for a config that can't be.
        """
        changes: dict[str, Any] = {"seed": run.seed, **run.changes}
        if run.command != "search":
            changes["algorithm"] = run.command
        if run.origin is not None:
            name, job = run.origin
            try:
                changes |= changes_from(f"{self.root}/{name}", self.folder(run.name), job)
            except UserError as error:
                raise NoOrigin(f"can't start from {name}: {error}") from None
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


def carry_out_all(place: Place, runs: Sequence[Run], tell: Tell) -> dict[str, str]:
    """Bring runs to their ends, as many at a time as the cluster has workers for.

    Args:
        place: where they are.
        runs: none of which needs another's weights.
        tell: told a line for each that ends.

    Returns:
        Why those have not come to their ends that have not, by name: what they start from is not there, they were
        stopped, or could not go on.

    Raises:
        KeyboardInterrupt: at Ctrl-C and SIGTERM; what was under way has left checkpoints.
        UserError: for what the user got wrong.
    """
    watcher = _Watcher(len(runs), tell)
    configs: dict[str, RunConfig] = {}
    for run in runs:
        try:
            configs[run.name] = place.config(run)
        except NoOrigin as error:
            watcher.stopped(run.name, str(error))
    if not configs:
        return watcher.unfinished
    _check(place, configs)
    by_name = {run.name: run for run in runs if run.name in configs}
    widest = max(fleet.num_workers * fleet.cpus_per_worker for fleet in (config.fleet for config in configs.values()))
    connect(FleetConfig(num_workers=max(os.cpu_count() or 1, widest)))
    if (there := ray.cluster_resources().get("CPU", 0)) < widest:  # type: ignore[no-untyped-call]
        tell(f"the cluster has {there:g} CPUs by now; runs that need {widest} wait until there are as many")
    ending = EndingActor.remote()

    def is_to_end() -> bool:
        return bool(ray.get(ending.is_asked.remote()))

    def bring_to_its_end(trial: dict[str, str]) -> None:
        run = by_name[trial["run"]]
        try:
            address = place.folder(run.name).address
            reason = INTERRUPTED if is_to_end() else carry_out(address, configs[run.name], is_to_end)
            # A budget or `spnas stop` may have ended it early.
            tune.report({"reason": reason, "stopped": place.finished(run) is None})
        except KeyboardInterrupt:  # raised by the driver, once it is to end
            tune.report({"reason": INTERRUPTED, "stopped": True})
        except (OSError, RunStopped, UserError) as error:
            tune.report({"reason": one_line(str(error)), "stopped": True})

    def resources(trial: dict[str, str]) -> tune.PlacementGroupFactory:
        fleet = configs[trial["run"]].fleet
        worker = {"CPU": float(fleet.cpus_per_worker), "GPU": float(fleet.gpus_per_worker)}
        # The driver's own process waits nearly all of its time.
        return tune.PlacementGroupFactory([{}, *([worker] * fleet.num_workers)])

    for name in QUIET:
        os.environ.setdefault(name, QUIET[name])
    with TemporaryDirectory(prefix="spnas-study-") as scratch, noting_interruption() as is_interrupted:
        watcher.end_if(is_interrupted, ending)
        tuner = tune.Tuner(
            tune.with_resources(bring_to_its_end, resources),
            param_space={"run": tune.grid_search(list(by_name))},
            run_config=tune.RunConfig(name="runs", storage_path=scratch, verbose=0, callbacks=[watcher]),
        )
        tuner.fit()
        if is_interrupted():  # as the last of them ended
            raise KeyboardInterrupt
    return watcher.unfinished


def carry_out(address: str, config: RunConfig, is_to_end: Callable[[], bool]) -> str:
    """Begin a run or go on with it, to its end, in this process; see `orchestrator.carry_out.drive`.

    Returns:
        Why it ended.
    """
    reason, _ = drive(address, config, open_view=lambda: make_view(make_console()), note_end=lambda: is_to_end)
    return reason


def _check(place: Place, configs: Mapping[str, RunConfig]) -> None:
    """See that machine and data can bear these runs; a data set is opened once for all that ask the same of it."""
    checked: set[str] = set()
    for name, config in configs.items():
        check_recorders(config, place.folder(name).storage.is_local)
        asked = config.model_dump_json(include={"data", "training", "reignition", "final", "fleet"})
        if asked not in checked:
            check_environment(config)
            checked.add(asked)


class _Ending:
    """Says to runs on any node whether they are to end."""

    def __init__(self) -> None:
        """They are not."""
        self._is_asked = False

    def ask(self) -> None:
        """They are."""
        self._is_asked = True

    def is_asked(self) -> bool:
        """Whether they are."""
        return self._is_asked


# One that is lost with its node comes back elsewhere, and is asked again.
EndingActor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Ending)


class _Watcher(tune.Callback):
    """Tells what ends; at Ctrl-C it has what is under way end, and then ends the rest."""

    def __init__(self, total: int, tell: Tell) -> None:
        """None of `total` has ended yet."""
        self.unfinished: dict[str, str] = {}
        self._total, self._tell, self._ended = total, tell, 0
        self._is_interrupted: Callable[[], bool] = lambda: False
        self._ending: Any = None
        self._under_way: set[str] | None = None

    def end_if(self, is_interrupted: Callable[[], bool], ending: Any) -> None:
        """Have runs end by `ending`, an `EndingActor`, once this says so."""
        self._is_interrupted, self._ending = is_interrupted, ending

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Tune is about to look what has happened, as it does several times a second."""
        if not self._is_interrupted():
            return
        running = {trial.trial_id for trial in trials if trial.status == Trial.RUNNING}
        if self._under_way is None:
            self._under_way = running
            what = "1 run under way stops" if len(running) == 1 else f"{len(running)} runs under way stop"
            self._tell(f"asked to end: {what} at a checkpoint")
        if not self._under_way & running:  # those that Tune has begun since end before they do anything
            raise KeyboardInterrupt
        self._ending.ask.remote()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """One has come to its end, or stopped."""
        reason = str(trial.last_result.get("reason"))
        if trial.last_result.get("stopped"):
            self.stopped(trial.config["run"], reason)
        else:
            self._end(trial.config["run"], reason)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The process of one has died, or there is a mistake of ours."""
        self.stopped(trial.config["run"], one_line(str(trial.get_error() or "its process has died")))

    def stopped(self, name: str, reason: str) -> None:
        """Tell of one that has not come to its end."""
        self.unfinished[name] = reason
        self._end(name, f"stopped: {reason}")

    def _end(self, name: str, what: str) -> None:
        self._ended += 1
        self._tell(f"{self._ended} of {self._total}  {name}: {what}")
