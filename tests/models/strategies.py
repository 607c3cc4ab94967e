"""Random architectures, morphs and warm weights for the tests of `models`."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import nn

from models.architecture import BLOCK_TYPES, Architecture, NetworkSpec
from models.morphism import Assemble, Expand, Insert, InsertStage, Morph, NewStage, apply, legal_expansions, legal_swaps

REPEATABLE = settings(derandomize=True, deadline=None, database=None)
MAX_BLOCKS, MAX_STAGES = 12, 5


@st.composite
def architectures(
    draw: st.DrawFn,
    blocks: tuple[str, ...] = BLOCK_TYPES,
    max_stages: int = 4,
    max_stage_blocks: int = 3,
    max_subnets: int = 0,
) -> Architecture:
    """Any small encoding with at most two doublings."""
    sizes = draw(st.lists(st.integers(1, max_stage_blocks), min_size=1, max_size=max_stages))
    letters = ["1"] * sum(sizes)
    for position in draw(st.lists(st.integers(0, len(letters) - 1), max_size=2)):
        letters[position] = "d"
    remaining = iter(letters)
    stages = tuple("".join(next(remaining) for _ in range(size)) for size in sizes)
    subnets = draw(
        st.just(()) | st.tuples(*[st.integers(0, max_subnets)] * len(stages)) if max_subnets else st.just(())
    )
    return Architecture(draw(st.sampled_from(blocks)), stages, subnets)


def small_spec(architecture: Architecture, stem: str = "deep") -> NetworkSpec:
    """A fresh spec with as few channels as its block allows."""
    return NetworkSpec.fresh(architecture, stem, 16 if architecture.block == "XB" else 4)


def specs(**limits: int) -> st.SearchStrategy[NetworkSpec]:
    """Any small fresh spec."""
    return st.builds(small_spec, architectures(**limits), st.sampled_from(("deep", "resnet")))


@st.composite
def morph_chains(draw: st.DrawFn, spec: NetworkSpec, max_length: int = 4, subnets: bool = True) -> tuple[Morph, ...]:
    """Legal morphs of a spec within `MAX_BLOCKS` and `MAX_STAGES`, fresh ones too; subnets, if any, come last."""
    chain: list[Morph] = []
    for _ in range(draw(st.integers(1, max_length))):
        legal = legal_swaps(spec.architecture.stages) + legal_expansions(
            spec.architecture.stages, max_blocks=MAX_BLOCKS, max_stages=MAX_STAGES
        )
        if not legal:
            break
        chosen = draw(st.sampled_from(legal))
        chain.append(with_fresh_weights(chosen) if draw(st.booleans()) else chosen)
        spec = apply(spec, chain[-1])
    if subnets and draw(st.booleans()):
        chain.append(Assemble(draw(st.tuples(*[st.integers(0, 2)] * spec.architecture.num_stages))))
    return tuple(chain)


def with_fresh_weights(morph: Morph) -> Morph:
    """The morph to the same network whose new block is fresh, where the morph makes one."""
    match morph:
        case Expand(after):
            return Insert(after)
        case NewStage():
            return InsertStage()
    return morph


def warmed(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with weights as training leaves them: no scale is 1, no shift or statistic 0, every `up` works."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            noise = torch.rand(tensor.shape, generator=generator)
            if name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
                tensor.copy_(0.5 + noise)
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(7)
            elif tensor.dim() == 1:
                tensor.copy_(noise - 0.5)
            else:
                bound = (6 / tensor[0].numel()) ** 0.5
                tensor.copy_(bound * (2 * noise - 1))
    return module


def pictures(size: int = 64, batch: int = 2, seed: int = 0) -> torch.Tensor:
    """Random images, [B, 3, size, size]."""
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))
