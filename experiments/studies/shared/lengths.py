"""How long trainings are, in steps, for studies that measure on the way.

Invariant: a data set is opened once in a process, however many runs ask for its length.
"""

from functools import cache

from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from workers.data import check_detection_data
from workers.settings import DetectionDataSettings


def num_steps(config: RunConfig) -> int:
    """Steps of a training by the fast scheme.

    Raises:
        UserError: if the data can't be read.
    """
    return config.training.num_steps(_num_images(config.data))


def ends_of_epochs(config: RunConfig) -> list[int]:
    """Steps of the fast scheme that are done after each epoch but the last; none where iterations count.

    Raises:
        UserError: if the data can't be read.
    """
    epochs = config.training.epochs or 1
    return [num_steps(config) * epoch // epochs for epoch in range(1, epochs)]


@cache
def _num_images(data: DetectionDataSettings) -> int:
    try:
        return check_detection_data(data).num_train
    except ValueError as error:
        raise UserError(str(error)) from None
