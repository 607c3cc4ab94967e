"""The names of start weights, checked without torch.

Invariant: what `check_start_weights` lets pass, `start_weights` can place, if the file is what it says.
"""

from dataclasses import dataclass
from pathlib import Path

from models.architecture import NetworkSpec


@dataclass(frozen=True, slots=True)
class TorchvisionNetwork:
    """A network of torchvision's: its name there, and the encoding it stands for."""

    model: str
    encoding: str


TORCHVISION = {
    "torchvision:resnet18": TorchvisionNetwork("resnet18", "BB(11,d1,d1,d1)"),
    "torchvision:resnet34": TorchvisionNetwork("resnet34", "BB(111,d111,d11111,d11)"),
    "torchvision:resnet50": TorchvisionNetwork("resnet50", "BNB(111,d111,d11111,d11)"),
    "torchvision:resnet101": TorchvisionNetwork("resnet101", f"BNB(111,d111,d{'1' * 22},d11)"),
    "torchvision:resnext50": TorchvisionNetwork("resnext50_32x4d", "XB(111,d111,d11111,d11)"),
}
FILE_SUFFIXES = (".safetensors", ".pt", ".pth")


def check_start_weights(weights: str, spec: NetworkSpec, *, key: str = "start.weights") -> None:
    """See that start weights exist and belong to a network, as far as names tell.

    Args:
        weights: ``torchvision:...`` or a file.
        spec: the network to start from.
        key: the config's key, for messages.

    Raises:
        ValueError: for an unknown name, a network that these weights are not of, or a missing file.
    """
    if weights == "torchvision:resnext101":
        raise ValueError(
            f"{key}: torchvision has no ResNeXt-101 32x4d, which XB stands for (only 32x8d and 64x4d); use "
            "torchvision:resnext50, or a file with such weights under torchvision's names, as timm's "
            "resnext101_32x4d has them"
        )
    if weights.startswith("torchvision:"):
        network = TORCHVISION.get(weights)
        if network is None:
            raise ValueError(f"{key}: {weights!r} is none of {', '.join(TORCHVISION)}, nor a file")
        if (str(spec.architecture), spec.stem, spec.base_channels) != (network.encoding, "resnet", 64):
            raise ValueError(
                f"{key}: {weights} is for {network.encoding} with stem resnet and 64 base channels, the "
                f"start is {spec.architecture} with stem {spec.stem} and {spec.base_channels}; change "
                "start.architecture, start.stem and start.base_channels, or the weights"
            )
        return
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"{key}: {weights!r} is neither one of {', '.join(TORCHVISION)} nor a file that exists")
    if path.suffix not in FILE_SUFFIXES:
        raise ValueError(f"{key}: {weights!r} must end in {', '.join(FILE_SUFFIXES)}")
