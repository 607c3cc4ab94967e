"""What a search starts from: nothing, torchvision's ImageNet weights, or a file.

Invariant: weights are only put where encoding, stem and base channels are theirs; nothing is unpickled but
tensors.
"""

import io
import json
import zipfile
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import get_model_weights
from torchvision.models.detection import FasterRCNN

from models.architecture import NetworkSpec
from models.backbone import Backbone, load_torchvision_weights
from models.blob import unpack
from models.detector_shape import BODY
from models.families import AnySpec, spec_from_dict
from models.inheritance import load_weights, misfits
from workers.start_names import TORCHVISION, check_start_weights
from workers.task import CandidateFailure

VERSION = "IMAGENET1K_V1"
"""Of torchvision's weights: those trained as in the ResNet paper, which all its networks have."""


def load_start_weights(detector: FasterRCNN, spec: AnySpec, weights: str | None) -> tuple[str, ...]:
    """Put the weights a search starts from into a fresh detector.

    Args:
        detector: its ``backbone.body`` is the backbone; it is changed in place.
        spec: what it was built from.
        weights: None leaves it fresh; ``torchvision:resnet18`` and the like; or a file: a blob of ours (of a
            backbone or a whole detector), or a state dict saved by torch, ours or a torchvision ResNet's.

    Returns:
        What had to stay fresh, for the log.

    Raises:
        ValueError: where the weights are not of this network, or the file is broken.
        OSError: where the file can't be read.
        CandidateFailure: where they can't be had.
    """
    if weights is None:
        return ()
    if not isinstance(spec, NetworkSpec):
        raise ValueError(f"start.weights: {weights!r} do not fit multi-scale networks; leave it out")
    check_start_weights(weights, spec)
    body = detector.backbone.body
    assert isinstance(body, Backbone)
    if weights in TORCHVISION:
        load_torchvision_weights(body, _torchvisions(weights))
        return ("neck and heads are fresh",)
    state = _read(Path(weights), spec)
    if any(key.startswith("layer1.") for key in state):
        load_torchvision_weights(body, state)
        return ("neck and heads are fresh",)
    if any(key.startswith(BODY) for key in state):
        return tuple(misfits(detector, load_weights(detector, state)))
    load_weights(body, state)
    return ("neck and heads are fresh",)


def _torchvisions(weights: str) -> dict[str, Tensor]:
    """A state dict of torchvision's, from where torch keeps what it has downloaded, or from the internet."""
    name = TORCHVISION[weights].model
    url = get_model_weights(name)[VERSION].url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            hash_prefix = path.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(path), hash_prefix, progress=False)
        except (OSError, HTTPException, RuntimeError) as error:
            raise CandidateFailure(
                f"start.weights: {weights!r} could not be downloaded ({error}); copy {url} to {path} on every node, or "
                f"give start.weights a file that holds torchvision's {name} state_dict"
            ) from error
    try:
        return _tensors(path)
    except ValueError as error:
        raise CandidateFailure(
            f"start.weights: {path}, where torch keeps {weights}, is broken; remove it, and it is downloaded again"
        ) from error


def _read(path: Path, spec: NetworkSpec) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            state, metadata = unpack(path.read_bytes())
            stored = spec_from_dict(json.loads(metadata["spec"])) if "spec" in metadata else spec
        except (ValueError, RecursionError) as error:
            raise ValueError(f"start.weights: {path} is broken ({error}); write or copy it again") from error
        if stored != spec:
            raise ValueError(
                f"start.weights: {path} holds {_words(stored)}, the start is {_words(spec)}; start from what stands in "
                "the file"
            )
        return state
    return _tensors(path)


def _words(spec: AnySpec) -> str:
    rest = (f"{key} {value}" for key, value in spec.to_dict().items() if key != "architecture")
    return f"{spec.architecture} ({', '.join(rest)})"


def _tensors(path: Path) -> dict[str, Tensor]:
    """A state dict saved by torch."""
    data = path.read_bytes()
    try:
        _refuse_compression(data)
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler may raise anything on bytes that are no pickle
        raise ValueError(
            f"start.weights: {path} is broken, or holds more than tensors ({type(error).__name__}); save "
            "model.state_dict() with torch.save"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(key, str) and _is_plain(loaded[key]) for key in loaded):
        raise ValueError(f"start.weights: {path} is no state dict of tensors; save model.state_dict()")
    return loaded


def _refuse_compression(data: bytes) -> None:
    """Refuse an archive that is not torch's, which compresses nothing: a small one could fill the memory."""
    file = io.BytesIO(data)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("compressed")


def _is_plain(value: object) -> bool:
    """Whether it is a tensor whose numbers stand in memory one by one."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_quantized or value.is_meta or value.is_complex())
    )
