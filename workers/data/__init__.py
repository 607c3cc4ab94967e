"""Data sets of every format behind one interface.

`check_detection_data` and `check_classification_data` look at everything a training will read without
decoding an image, and need no torch, so that a config is refused before anything starts.
`open_detection_data` and `open_classification_data` give what the trainings read.

Invariant: a format differs from another only in its own module; the trainings know `workers.data.interface`
alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from models.wording import one_line
from workers.data import bdd, coco, ecp, imagefolder, shapes, voc
from workers.data.interface import ClassificationData, DataReport, DetectionData
from workers.settings import (
    BddData,
    ClassificationDataSettings,
    CocoData,
    DetectionDataSettings,
    EcpData,
    ImageFolderData,
    ShapesClassification,
    ShapesData,
    VocData,
)


def open_detection_data(settings: DetectionDataSettings, *, key: str = "data") -> DetectionData:
    """The training and evaluation sets of a detection data set.

    Args:
        settings: what to read, and how.
        key: the config's key of `settings`, for messages.

    Raises:
        ValueError: for what is missing or refused, in one line that names key or file, value, and what is
            right.
        OSError: where storage fails, which may be over at another time or on another machine.
    """
    match settings:
        case VocData():
            return voc.open_voc(settings, key=key)
        case CocoData():
            return coco.open_coco(settings, key=key)
        case EcpData():
            return ecp.open_ecp(settings, key=key)
        case BddData():
            return bdd.open_bdd(settings, key=key)
        case ShapesData():
            return shapes.open_shapes(settings)
        case _:
            assert_never(settings)


def open_classification_data(
    settings: ClassificationDataSettings, *, key: str = "reignition.data"
) -> ClassificationData:
    """The training and evaluation sets of a classification data set; raises as `open_detection_data` does."""
    match settings:
        case ImageFolderData():
            return imagefolder.open_imagefolder(settings, key=key)
        case ShapesClassification():
            return shapes.open_shapes_classification(settings)
        case _:
            assert_never(settings)


def check_detection_data(settings: DetectionDataSettings, *, key: str = "data") -> DataReport:
    """What `open_detection_data` would give and leave out; all that it raises is a `ValueError`. Decodes no image."""
    with _refusing(key):
        return open_detection_data(settings, key=key).report


def check_classification_data(settings: ClassificationDataSettings, *, key: str = "reignition.data") -> DataReport:
    """What `open_classification_data` would give; all that it raises is a `ValueError`. Decodes no image."""
    with _refusing(key):
        return open_classification_data(settings, key=key).report


@contextmanager
def _refusing(key: str) -> Iterator[None]:
    """Before a run starts, what can't be read is for its user to correct."""
    try:
        yield
    except ValueError as error:  # the names in it may be anything
        raise ValueError(one_line(str(error))) from error
    except OSError as error:
        raise ValueError(
            f"{key}: {one_line(str(error.filename), 500)} can't be read ({error.strerror}); correct its permissions "
            "or its storage"
        ) from error
