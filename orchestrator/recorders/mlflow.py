"""A run of MLflow.

Invariant: the run's folder names the MLflow run (``mlflow.json``), and that one's tag the last job that it has; so a
driver that goes on records on where the one before has stopped.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from orchestrator.config import RunConfig, flat
from orchestrator.recorders.recording import Point
from orchestrator.recorders.settings import MLflowConfig
from workers.run_folder import RunFolder

FILE = "mlflow.json"
LAST_JOB = "spnas.last_job"
MAX_METRICS, MAX_PARAMS = 900, 90
"""MLflow takes 1000 and 100 at once."""

MAX_VALUE = 500
Item = TypeVar("Item")


class MLflowRecorder:
    """Records the config as params and points as metrics, the job's index as the step."""

    def __init__(self, settings: MLflowConfig, config: RunConfig, folder: RunFolder) -> None:
        """Record a run.

        Args:
            settings: where.
            config: the run's.
            folder: its files.
        """
        self._settings = settings
        self._config = config
        self._folder = folder
        self._client: Any
        self._run_id = ""

    def open(self) -> int:
        """See `Recorder`."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = MlflowClient(self._settings.tracking_uri)
        experiment = self._client.get_experiment_by_name(self._settings.experiment)
        if experiment is None:
            experiment_id = self._client.create_experiment(self._settings.experiment)
        else:
            experiment_id = experiment.experiment_id
        run = self._known_run(experiment_id)
        if run is None:
            self._begin(experiment_id)
            return 0
        self._run_id = run.info.run_id
        self._client.update_run(self._run_id, status="RUNNING")
        return int(run.data.tags.get(LAST_JOB, -1)) + 1

    def record(self, points: Sequence[Point]) -> None:
        """See `Recorder`."""
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(_key(name), value, round(1000 * point.at), point.index)
            for point in points
            for name, value in point.values.items()
        ]
        # A batch that is sent again changes nothing: MLflow keeps equal metrics once.
        for part in _parts(metrics, MAX_METRICS):
            self._client.log_batch(self._run_id, metrics=part)
        if points:
            self._client.log_batch(self._run_id, tags=[RunTag(LAST_JOB, str(points[-1].index))])

    def close(self, has_ended: bool) -> None:
        """See `Recorder`."""
        self._client.set_terminated(self._run_id, "FINISHED" if has_ended else "KILLED")

    def _known_run(self, experiment_id: str) -> Any:
        """The MLflow run of an earlier driver, if this server has it in this experiment."""
        from mlflow.exceptions import MlflowException

        try:
            run_id = json.loads(self._folder.storage.read(FILE))["run_id"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        is_ours = run.info.experiment_id == experiment_id and run.info.lifecycle_stage == "active"
        return run if is_ours else None

    def _begin(self, experiment_id: str) -> None:
        from mlflow.entities import Param

        tags = {"spnas.run": self._folder.address}
        run = self._client.create_run(experiment_id, run_name=self._folder.name, tags=tags)
        self._run_id = run.info.run_id
        values = flat(self._config.model_dump(mode="json"))
        params = [Param(_key(key), str(value)[:MAX_VALUE]) for key, value in values]
        for part in _parts(params, MAX_PARAMS):
            self._client.log_batch(self._run_id, params=part)
        self._folder.storage.write(FILE, json.dumps({"run_id": self._run_id}).encode())


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _key(name: str) -> str:
    """A name as MLflow takes it; classes may be called anything."""
    return re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII)[:250]
