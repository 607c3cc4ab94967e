"""Weight blobs on their way from one job to the next.

Storage is the truth, the object store a cache: a parent's blob is read and put once, and every worker on a node maps
it without a copy.

Invariants:
- What a run was given at its beginning stays.
- Another blob is deleted only after the record that makes it superfluous is durable (the driver calls
  `retain` after its append), and never while `live_weights` names it.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import ray
import ray.exceptions

from orchestrator.errors import RunStopped
from workers.failures import describe
from workers.run_folder import GIVEN_INDEX, RunFolder, WeightsFile


class Weights:
    """The blobs of one run."""

    def __init__(self, folder: RunFolder, given: WeightsFile | None = None) -> None:
        """Know of no blob yet but the one that the run was given, if any; see `add`."""
        self._folder = folder
        self._files: dict[int, WeightsFile] = {} if given is None else {GIVEN_INDEX: given}
        self._refs: dict[int, ray.ObjectRef[Any]] = {}

    def add(self, index: int, file: WeightsFile | None) -> None:
        """Learn where a finished job's weights are."""
        if file is not None:
            self._files[index] = file

    def ref(self, index: int | None) -> ray.ObjectRef[Any] | None:
        """A job's blob in the object store, put there the first time; None for no job.

        Raises:
            RunStopped: if storage has lost it, or the object store can't take it.
        """
        if index is None:
            return None
        if index not in self._refs:
            try:
                data = self._folder.read_weights(self._files[index])
            except (KeyError, OSError, ValueError) as error:
                raise RunStopped(f"the weights {_of(index)}, which others grow from, can't be read: {error}") from None
            try:
                self._refs[index] = ray.put(np.frombuffer(data, dtype=np.uint8))
            except ray.exceptions.RayError as error:
                raise RunStopped(f"Ray has no room for the weights {_of(index)}: {describe(error)}") from None
        return self._refs[index]

    def forget(self, indices: Iterable[int | None]) -> None:
        """Drop objects that may be lost; the next `ref` reads them from storage again."""
        for index in indices:
            if index is not None:
                self._refs.pop(index, None)

    def retain(self, live: set[int], parents: set[int]) -> None:
        """Delete the files of all jobs but `live`, and drop the objects of all but `parents`."""
        for index in self._files.keys() - live - {GIVEN_INDEX}:
            self._folder.delete_weights(self._files.pop(index).attempt)
        self.forget(self._refs.keys() - parents)


def _of(index: int) -> str:
    return "that the run was given" if index == GIVEN_INDEX else f"of job {index}"
