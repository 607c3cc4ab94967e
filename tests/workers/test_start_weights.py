"""What a search starts from."""

import json
from pathlib import Path

import pytest
import torch
import torchvision.models
from safetensors.torch import save_file
from torchvision.models.resnet import Bottleneck

from models.architecture import Architecture, NetworkSpec
from models.blob import pack
from models.detectors import build_detector
from workers.start_names import TORCHVISION, check_start_weights
from workers.start_weights import load_start_weights
from workers.task import CandidateFailure

RESNET18 = NetworkSpec.fresh(Architecture.parse("BB(11,d1,d1,d1)"), "resnet", 64)
SMALL = NetworkSpec.fresh(Architecture.parse("BB(1,d)"), "deep", 8)


def small() -> torch.nn.Module:
    return build_detector(SMALL, 2, max_stages=2, pyramid_channels=8, head_channels=8)


def test_every_name_is_of_the_encoding_it_says() -> None:
    for name, network in TORCHVISION.items():
        check_start_weights(name, NetworkSpec.fresh(Architecture.parse(network.encoding), "resnet", 64))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("torchvision:resnet18", r"^start\.weights: torchvision:resnet18 is for BB\(11,d1,d1,d1\) with stem resnet"),
        ("torchvision:vgg16", r"^start\.weights: 'torchvision:vgg16' is none of torchvision:resnet18, "),
        ("torchvision:resnext101", "has no ResNeXt-101 32x4d"),
        ("/no/such.pt", r"'/no/such\.pt' is neither one of .* nor a file that exists"),
        (__file__, r"must end in \.safetensors, \.pt, \.pth"),
    ],
)
def test_names_that_do_not_fit_are_refused(weights: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_start_weights(weights, SMALL)


def test_a_file_of_torchvisions_weights_is_taken_over(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(theirs, tmp_path / "resnet18.pth")
    detector = build_detector(RESNET18, 2, max_stages=4, pyramid_channels=8, head_channels=8)
    assert load_start_weights(detector, RESNET18, str(tmp_path / "resnet18.pth")) == ("neck and heads are fresh",)
    own = detector.backbone.body.state_dict()
    assert torch.equal(own["stages.3.1.conv2.weight"], theirs["layer4.1.conv2.weight"])


def test_blobs_and_state_dicts_of_ours_are_taken_over(tmp_path: Path) -> None:
    source = small()
    metadata = {"spec": json.dumps(SMALL.to_dict())}
    (tmp_path / "detector.safetensors").write_bytes(pack(source.state_dict(), metadata))
    (tmp_path / "body.safetensors").write_bytes(pack(source.backbone.body.state_dict(), metadata))
    torch.save(source.state_dict(), tmp_path / "detector.pt")
    for name, notes in (
        ("detector.safetensors", ()),
        ("detector.pt", ()),
        ("body.safetensors", ("neck and heads are fresh",)),
    ):
        detector = small()
        assert load_start_weights(detector, SMALL, str(tmp_path / name)) == notes
        own = detector.backbone.body.state_dict()
        assert all(torch.equal(own[key], value) for key, value in source.backbone.body.state_dict().items())


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    other = NetworkSpec.fresh(Architecture.parse("BB(1,1)"), "deep", 8)
    (tmp_path / "a.safetensors").write_bytes(pack({}, {"spec": json.dumps(other.to_dict())}))
    with pytest.raises(ValueError, match=r"a\.safetensors holds BB\(1,1\) .*, the start is BB\(1,d\)"):
        load_start_weights(small(), SMALL, str(tmp_path / "a.safetensors"))
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt is no state dict of tensors"):
        load_start_weights(small(), SMALL, str(tmp_path / "b.pt"))
    torch.save({"x": torch.zeros(1)}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="not of this network"):
        load_start_weights(small(), SMALL, str(tmp_path / "c.pt"))


@pytest.mark.parametrize("name", ["a.pth", "b.pt", "c.safetensors", "d.safetensors"])
def test_a_broken_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    torch.save(small().state_dict(), tmp_path / "b.pt")
    written = {
        "a.pth": b"no pickle",
        "b.pt": (tmp_path / "b.pt").read_bytes()[:-500],
        "c.safetensors": pack(small().state_dict(), {})[:-1],
        "d.safetensors": pack({}, {"spec": "[]"}),
    }
    path.write_bytes(written[name])
    with pytest.raises(ValueError, match=rf"^start\.weights: [^\n]*{name} is broken[^\n]*$"):
        load_start_weights(small(), SMALL, str(path))


def test_a_safetensors_file_with_torchvisions_names_is_taken_over(tmp_path: Path) -> None:
    theirs = torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1], groups=32, width_per_group=4).state_dict()
    save_file(theirs, tmp_path / "resnext.safetensors", metadata={"format": "pt"})
    spec = NetworkSpec.fresh(Architecture.parse("XB(1,d,d,d)"), "resnet", 64)
    detector = build_detector(spec, 2, max_stages=4, pyramid_channels=8, head_channels=8)
    notes = load_start_weights(detector, spec, str(tmp_path / "resnext.safetensors"))
    assert notes == ("neck and heads are fresh",)
    own = detector.backbone.body.state_dict()
    assert torch.equal(own["stages.3.0.conv2.weight"], theirs["layer4.0.conv2.weight"])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps ResNet-18's weights; nothing can be downloaded."""

    def refuse(url: str, *_: object, **__: object) -> None:
        raise OSError(f"no route to {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints" / "resnet18-f37072fd.pth"


def start_from_resnet18() -> torch.nn.Module:
    detector = build_detector(RESNET18, 2, max_stages=4, pyramid_channels=8, head_channels=8)
    assert load_start_weights(detector, RESNET18, "torchvision:resnet18") == ("neck and heads are fresh",)
    return detector


def test_what_torch_has_downloaded_before_is_used_without_a_network(hub: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    hub.parent.mkdir()
    torch.save(theirs, hub)
    own = start_from_resnet18().backbone.body.state_dict()
    assert torch.equal(own["stem.conv.weight"], theirs["conv1.weight"])


def test_a_broken_copy_of_torchs_is_named(hub: Path) -> None:
    hub.parent.mkdir()
    hub.write_bytes(b"<html>")
    with pytest.raises(CandidateFailure, match=rf"^start\.weights: {hub}, where torch keeps .* is broken; remove it"):
        start_from_resnet18()


def test_weights_that_can_not_be_downloaded_fail_with_what_to_do(hub: Path) -> None:
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    message = (
        rf"could not be downloaded \(no route to {url}\); copy {url} to {hub} on every node, or give start\.weights"
    )
    with pytest.raises(CandidateFailure, match=message):
        start_from_resnet18()
