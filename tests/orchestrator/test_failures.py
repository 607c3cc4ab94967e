"""What the driver makes of what Ray raises; errors of a training itself are in tests/workers/test_failures.py."""

import inspect

import pytest
import ray.exceptions
from ray.exceptions import RayError, RayTaskError

from workers.failures import classify
from workers.task import AttemptLost, CandidateFailure

UNCLEAR = {"OutOfMemoryError"}
CANDIDATE = {"UserCodeException", "CrossLanguageError"}
RAY_ERRORS = [
    error
    for _, error in inspect.getmembers(ray.exceptions, inspect.isclass)
    if issubclass(error, RayError) and not issubclass(error, RayTaskError)
]


@pytest.mark.parametrize("kind", RAY_ERRORS)
def test_every_error_of_ray_is_the_infrastructures_but_for_a_few(kind: type[RayError]) -> None:
    # Their constructors and texts want what only Ray has.
    told = type(kind.__name__, (kind,), {"__str__": lambda error: "first line\nsecond line"})
    error = told.__new__(told)
    expected = (
        "unclear" if kind.__name__ in UNCLEAR else "candidate" if kind.__name__ in CANDIDATE else "infrastructure"
    )
    fault, reason = classify(error)
    assert fault == expected
    assert "\n" not in reason and reason.startswith(kind.__name__)


def test_there_are_errors_of_ray_to_classify() -> None:
    names = {kind.__name__ for kind in RAY_ERRORS}
    assert names >= UNCLEAR | CANDIDATE | {"ActorDiedError", "ActorUnavailableError", "NodeDiedError", "OwnerDiedError"}


@pytest.mark.parametrize(
    ("cause", "fault", "reason"),
    [
        (CandidateFailure("loss became nan"), "candidate", "loss became nan"),
        (AttemptLost("unclear", "gave no sign of life for 9 s"), "unclear", "gave no sign of life for 9 s"),
        (AttemptLost("infrastructure", "OSError: no"), "infrastructure", "OSError: no"),
        (OSError(28, "No space left on device"), "infrastructure", "OSError: [Errno 28] No space left on device"),
        (KeyError("weight"), "candidate", "KeyError: 'weight'"),
    ],
)
def test_what_a_worker_raises_is_told_by_its_cause(cause: Exception, fault: str, reason: str) -> None:
    wrapped = RayTaskError("run", "traceback", cause).as_instanceof_cause()
    assert classify(wrapped) == (fault, reason)
