"""The lateral refit after a stride has passed a doubling."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from models import Architecture, build_detector
from models.inheritance import inherit, load_weights
from models.morphism import Morph, Swap, apply_all
from models.refit import refit_laterals
from tests.models.strategies import small_spec, warmed

SMALL = {"max_stages": 3, "pyramid_channels": 8, "head_channels": 8, "roi_size": 2}


def _detectors(text: str, morphs: tuple[Morph, ...], branch: float = 0.1) -> tuple[FasterRCNN, FasterRCNN, list[str]]:
    """A parent and its child; small residual branches, as a trained network has beside its shortcuts."""
    parent = build_detector(small_spec(Architecture.parse(text)), 2, **SMALL)
    warmed(parent)
    last = "norm2" if text.startswith("BB") else "norm3"
    with torch.no_grad():
        for name, tensor in parent.backbone.body.state_dict().items():
            if f".{last}." in name and name.endswith(("weight", "bias")):
                tensor.mul_(branch)
    spec = parent.backbone.body.spec
    child = build_detector(apply_all(spec, morphs), 2, **SMALL)
    return parent, child, load_weights(child, inherit(parent.state_dict(), spec, morphs))


def _images(count: int = 16, size: int = 48) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, size // 8, size // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return list((smooth + 0.05 * torch.rand(count, 3, size, size, generator=generator)).clamp(0, 1))


def _lateral_outputs(detector: FasterRCNN, images: list[Tensor], level: int) -> Tensor:
    detector.eval()
    with torch.no_grad():
        maps = detector.backbone.padded_features(detector.transform(images)[0].tensors)
        return detector.backbone.fpn.inner_blocks[level](maps[str(level)])


def _explained(parent: FasterRCNN, child: FasterRCNN, images: list[Tensor], level: int) -> float:
    target, output = (_lateral_outputs(each, images, level).double() for each in (parent, child))
    residual = (target - output).square().sum()
    return float(1 - residual / (target - target.mean(dim=(0, 2, 3), keepdim=True)).square().sum())


@pytest.mark.parametrize("text", ["BB(11,d1,1)", "BNB(11,d1,1)"])
def test_the_refit_keeps_the_levels_output_close(text: str) -> None:
    parent, child, fresh = _detectors(text, (Swap(2),))
    assert fresh == ["backbone.fpn.inner_blocks.0"]
    images = _images()
    before = _explained(parent, child, images, 0)
    explained = refit_laterals(parent, child, images)
    assert explained.keys() == {0}
    assert before < 0 and 0.8 < explained[0] <= 1
    assert _explained(parent, child, images, 0) == pytest.approx(explained[0], abs=1e-4)


def test_it_is_ridge_regression() -> None:
    parent, child, _ = _detectors("BB(11,d1,1)", (Swap(2),), branch=1)
    images = _images()
    refit_laterals(parent, child, images, batch_size=3)
    child.eval()
    inputs = child.backbone.padded_features(child.transform(images)[0].tensors)["0"].detach().double()
    x = inputs.flatten(2).transpose(1, 2).flatten(0, 1)
    y = _lateral_outputs(parent, images, 0).double().flatten(2).transpose(1, 2).flatten(0, 1)
    centred = x - x.mean(dim=0)
    gram = centred.T @ centred
    ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    weight = torch.linalg.solve(gram + ridge, centred.T @ (y - y.mean(dim=0)))
    lateral = child.backbone.fpn.inner_blocks[0][0]
    torch.testing.assert_close(lateral.weight[:, :, 0, 0].double(), weight.T, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(lateral.bias.double(), y.mean(dim=0) - x.mean(dim=0) @ weight, atol=1e-5, rtol=1e-4)


def test_an_unchanged_network_needs_no_refit() -> None:
    parent, child, fresh = _detectors("BB(11,d1,1)", (Swap(3),))
    before = {key: tensor.clone() for key, tensor in child.state_dict().items()}
    assert fresh == []
    assert refit_laterals(parent, child, _images()) == {}
    assert all(torch.equal(before[key], tensor) for key, tensor in child.state_dict().items())


def test_all_levels_are_refitted_on_request_and_nothing_else_changes() -> None:
    parent, child, _ = _detectors("BB(11,d1,1)", ())
    before = {key: tensor.clone() for key, tensor in child.state_dict().items()}
    explained = refit_laterals(parent, child, _images(), levels=range(3))
    assert explained.keys() == {0, 1, 2}
    assert min(explained.values()) > 0.99
    changed = {key for key, tensor in child.state_dict().items() if not torch.equal(before[key], tensor)}
    assert changed <= {
        f"backbone.fpn.inner_blocks.{level}.0.{name}" for level in range(3) for name in ("weight", "bias")
    }


def test_the_same_refit_gives_the_same_bits() -> None:
    results = []
    for _ in range(2):
        parent, child, _ = _detectors("BB(11,d1,1)", (Swap(2),))
        results.append((refit_laterals(parent, child, _images()), child.backbone.fpn.inner_blocks[0][0].weight))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_modes_of_training_return() -> None:
    parent, child, _ = _detectors("BB(11,d1,1)", (Swap(2),))
    child.train()
    child.backbone.body.stem.eval()
    parent.eval()
    modes = [[module.training for module in each.modules()] for each in (parent, child)]
    refit_laterals(parent, child, _images(2))
    assert modes == [[module.training for module in each.modules()] for each in (parent, child)]


def test_features_that_never_vary_do_no_harm() -> None:
    parent, child, _ = _detectors("BB(11,d1,1)", (Swap(2),))
    with torch.no_grad():
        for parameter in child.backbone.body.parameters():
            parameter.zero_()
    explained = refit_laterals(parent, child, _images(4))
    assert explained[0] == pytest.approx(0, abs=1e-9)
    assert all(parameter.isfinite().all() for parameter in child.parameters())


def test_large_maps_are_thinned() -> None:
    parent, child, _ = _detectors("BB(11,d1,1)", (Swap(2),))
    explained = refit_laterals(parent, child, _images(2, size=320), batch_size=1)
    assert 0.8 < explained[0] <= 1


def test_misuse_is_told() -> None:
    parent, child, _ = _detectors("BB(11,d1,1)", (Swap(2),))
    with pytest.raises(ValueError, match="no images"):
        refit_laterals(parent, child, [])
    other = build_detector("BB(1,d)", 2, base_channels=4, **SMALL | {"max_stages": 4})
    with pytest.raises(ValueError, match="differ in levels or channels"):
        refit_laterals(parent, other, _images(1))
