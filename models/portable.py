"""Networks that can be taken elsewhere: weights with all that it takes to build them again.

A portable file is a safetensors file (see `models.blob`). Its metadata are JSON texts: ``spec``, the backbone's
`NetworkSpec` or the multi-scale encoder's `MultiScaleSpec`; of a detector ``classes``, the names of the labels 1, 2,
..., and ``detector``, the number of pyramid levels and the `DetectorShape`; and ``image_mean`` and ``image_std`` of the
images, where they are known.

Invariant: what `Portable.of_blob` has read can be built; whatever else a file holds is refused in one line.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from models.architecture import NetworkSpec
from models.backbone import Backbone, few
from models.blob import pack, unpack
from models.detector_card import DetectorCard, read_object
from models.detector_shape import BODY
from models.detectors import build_detector
from models.families import AnySpec, spec_from_dict
from models.inheritance import load_weights
from models.msnas import MultiScaleEncoder, inherit_path

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Portable:
    """A backbone or a detector: what it is, and its weights.

    A multi-scale encoder counts as a backbone.

    Attributes:
        spec: of the backbone.
        state: its state dict; a detector's if there is a card.
        card: what the detector is beside its backbone; None for a backbone alone.
        notes: further metadata, such as where the weights come from.
    """

    spec: AnySpec
    state: Mapping[str, Tensor]
    card: DetectorCard | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_blob(cls, data: bytes, card: DetectorCard | None = None, spec: AnySpec | None = None) -> "Portable":
        """Read a file's bytes.

        Args:
            data: of a portable file, or of any weights that a search has stored.
            card: for a detector's weights that have none, as an older version has stored them; without it, they are
                taken for the backbone's alone.
            spec: a path of the super-net that the weights are of, in place of the one that they name.

        Raises:
            ValueError: if it is no such file, or its metadata don't belong to its weights.
        """
        state, metadata = unpack(data)
        if "spec" not in metadata:
            raise ValueError("weights: the metadata have no spec; these are weights of another program")
        spec = spec or spec_from_dict(read_object(metadata, "spec"))
        if not isinstance(spec, NetworkSpec):
            state = inherit_path(state, spec.architecture)
        if not any(key.startswith(BODY) for key in state):
            return cls(spec=spec, state=state, notes=_notes(metadata))
        if "detector" in metadata:
            card = DetectorCard.of_metadata(metadata)
        if card is None:
            return cls(spec=spec, state=_body(state), notes=_notes(metadata))
        return cls(spec=spec, state=state, card=card, notes=_notes(metadata))

    def with_notes(self, notes: Mapping[str, str]) -> "Portable":
        """The same network, with some metadata more."""
        return replace(self, notes={**self.notes, **notes})

    @property
    def part(self) -> Literal["backbone", "detector"]:
        """What this is."""
        return "backbone" if self.card is None else "detector"

    @property
    def metadata(self) -> dict[str, str]:
        """All that a file says beside the weights."""
        own = {"spec": json.dumps(self.spec.to_dict()), **(self.card.metadata if self.card else {})}
        return {**self.notes, **own}

    def to_blob(self) -> bytes:
        """A portable file's bytes."""
        return pack(self.state, self.metadata)

    @property
    def normalization(self) -> str:
        """What the backbone is built with: of those that are the same in evaluation, the usual one."""
        return "batch" if any(key.endswith(".running_mean") for key in self.state) else "group"

    def backbone(self) -> "Portable":
        """The backbone alone, with its images' mean and standard deviation among the notes."""
        if self.card is None:
            return self
        images = {key: text for key, text in self.card.metadata.items() if key.startswith("image_")}
        return Portable(spec=self.spec, state=_body(self.state), notes={**self.notes, **images})

    def build_backbone(self) -> Backbone | MultiScaleEncoder:
        """The backbone with these weights, in evaluation mode.

        Raises:
            ValueError: if they are not its weights.
        """
        alone = self.backbone()
        return _built(lambda: backbone_of(self.spec, alone.normalization), alone.state)

    def build_detector(self) -> FasterRCNN:
        """The detector with these weights, in evaluation mode.

        Raises:
            ValueError: if this is a backbone alone, or they are not the detector's weights.
        """
        if (card := self.card) is None:
            raise ValueError("weights: they are a backbone's alone, or don't say what their detector is")
        return _built(
            lambda: build_detector(
                self.spec,
                len(card.classes),
                max_stages=card.max_stages,
                normalization=self.normalization,
                **asdict(card.shape),
            ),
            self.state,
        )


def backbone_of(spec: AnySpec, normalization: str = "batch") -> Backbone | MultiScaleEncoder:
    """The backbone of a spec, or its multi-scale encoder, with fresh weights."""
    if isinstance(spec, NetworkSpec):
        return Backbone(spec, normalization)
    return MultiScaleEncoder(spec, normalization)


def _body(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(BODY): tensor for key, tensor in state.items() if key.startswith(BODY)}


def _built(build: Callable[[], Module], state: Mapping[str, Tensor]) -> Module:
    """What is built, with weights that are its own, all of them."""
    with torch.device("meta"):  # without memory: the metadata may ask for any amount
        own = build().state_dict()
    wrong = [
        key for key in {**own, **state} if key not in own or key not in state or own[key].shape != state[key].shape
    ]
    wrong = [key for key in wrong if not key.endswith(".num_batches_tracked")]  # frozen normalisations keep none
    if wrong:
        raise ValueError(f"weights: the metadata don't belong to them; {few(sorted(wrong))} differ")
    module = build()
    load_weights(module, state)
    return module.eval()


def _notes(metadata: Mapping[str, str]) -> dict[str, str]:
    """What is said beside that which is written anew."""
    return {key: text for key, text in metadata.items() if key not in ("spec", "classes", "detector")}
