"""What a detector's weights say about it in their metadata, read without torch.

The metadata are JSON texts: ``classes``, the names of the labels 1, 2, ...; ``detector``, the number of pyramid levels
and the `DetectorShape`.

Invariant: a card that was read has a known field for every key, each of its type; whatever else is refused in one line.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from models.detector_shape import DetectorShape
from models.wording import brief, one_line

MAX_LEVELS = 20

_SHAPE: TypeAdapter[DetectorShape] = TypeAdapter(DetectorShape)
_NAMES = TypeAdapter(tuple[str, ...], config=ConfigDict(strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCard:
    """What a detector is beside its backbone.

    Attributes:
        classes: names of the labels 1, 2, ...; 0 is the background.
        max_stages: pyramid levels.
        shape: everything else.
    """

    classes: tuple[str, ...]
    max_stages: int
    shape: DetectorShape

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str]) -> "DetectorCard":
        """Read the texts.

        Raises:
            ValueError: if they are damaged, or a newer version's.
        """
        values = read_object(metadata, "detector")
        known = {item.name for item in fields(DetectorShape)}
        try:
            shape = _SHAPE.validate_python({key: value for key, value in values.items() if key in known})
            classes = _NAMES.validate_json(metadata.get("classes", "null"))
            levels = values.get("max_stages")
            if type(levels) is not int or not 1 <= levels <= MAX_LEVELS:
                raise ValueError(f"{brief(levels)} is no number of pyramid levels")
            if values.keys() - known != {"max_stages"}:
                raise ValueError("a field is unknown; use a newer spnas")
        except (ValidationError, ValueError) as error:
            raise ValueError(f"weights: the metadata of the detector are damaged ({one_line(str(error))})") from None
        return cls(classes=classes, max_stages=levels, shape=shape)

    @property
    def metadata(self) -> dict[str, str]:
        """The card as texts."""
        return {
            "classes": json.dumps(self.classes),
            "detector": json.dumps({"max_stages": self.max_stages, **asdict(self.shape)}),
            "image_mean": json.dumps(self.shape.image_mean),
            "image_std": json.dumps(self.shape.image_std),
        }


def read_object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """The JSON object of one of the texts.

    Raises:
        ValueError: if it is none.
    """
    try:
        values = json.loads(metadata[key])
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"weights: the metadata {key} are no JSON object; the file is damaged")
    return values
