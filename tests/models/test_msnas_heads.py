"""The box head of convolutions: its layers, and its normalisation over ranks that have different numbers of RoIs."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from models.blocks import SynchronizedBatchNorm
from models.detectors import build_detector

ROIS = torch.randn(7, 3, 2, 2, generator=torch.Generator().manual_seed(0))
SHARES = (ROIS[:5], ROIS[5:])


def test_the_heavier_head_is_convolutions_and_one_linear_layer() -> None:
    head = build_detector("BB(1,d)", 1, head_convolutions=4, normalization="sync").roi_heads.box_head
    convolutions = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels, layer.kernel_size) for layer in convolutions] == [
        (256, 256, (3, 3))
    ] * 4
    assert sum(isinstance(layer, SynchronizedBatchNorm) for layer in head.modules()) == 4
    (linear,) = (layer for layer in head.modules() if isinstance(layer, nn.Linear))
    assert (linear.in_features, linear.out_features) == (256 * 7 * 7, 1024)


def _normalize(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=len(SHARES))
    norm = SynchronizedBatchNorm(3).train()
    with torch.no_grad():
        output = norm(SHARES[rank])
    torch.save((output, norm.running_mean, norm.running_var), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.timeout(60)
def test_ranks_with_different_numbers_of_rois_normalise_as_one_with_all(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    ranks = [processes.Process(target=_normalize, args=(rank, tmp_path)) for rank in range(len(SHARES))]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
        assert rank.exitcode == 0
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(SHARES))]
    alone = nn.BatchNorm2d(3).train()
    with torch.no_grad():
        expected = alone(ROIS)
    # float32 sums in another order, of values near 1
    torch.testing.assert_close(torch.cat([output for output, _, _ in found]), expected, rtol=0, atol=1e-5)
    for _, mean, variance in found:
        torch.testing.assert_close(mean, alone.running_mean, rtol=0, atol=1e-6)
        torch.testing.assert_close(variance, alone.running_var, rtol=0, atol=1e-6)
