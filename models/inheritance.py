"""Morphs on weights: what a child takes over from its parent (SP-NAS, sections 3.1 and 3.2).

A morph renames keys and adds tensors; it never changes one. State dicts of a bare `Backbone` and of a whole
detector are treated alike, and no module is built.

Invariants:

- `inherit(state, spec, morphs)` has exactly the backbone keys of ``apply_all(spec, morphs)``; every tensor
  that is not new is the parent's very own;
- an inserted block computes the identity (or its stage's subsampling) bit for bit, in training and evaluation
  alike: its input is never negative and its branch is exactly zero; only those of `Insert` and `InsertStage` are as a
  training from scratch begins, drawn from torch's generator;
- what `load_weights` leaves fresh it names; anything else that doesn't fit is an error.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from models.architecture import BlockShape, NetworkSpec
from models.backbone import few
from models.costs import XB_GROUPS
from models.detector_shape import BODY
from models.morphism import Assemble, Expand, Insert, InsertStage, Morph, NewStage, Swap, apply

State = dict[str, Tensor]

_STAGE_KEY = re.compile(r"stages\.(\d+)\.(\d+)\.(.+)")
_MAY_STAY_FRESH = re.compile(
    r"(roi_heads\.(?:stages\.\d+\.)?(?:box|mask)_predictor|backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\..+"
)
_HEAD = re.compile(r"(roi_heads\.(?:stages\.\d+\.)?(?:box|mask)_head)\..+")
_SUBNET_KEY = re.compile(r"subnets\.(\d+)\.(\d+)\.(?:up\.(\w+)|blocks\.(\d+)\.(.+))")


@dataclass
class _Subnet:
    up: State
    blocks: list[State]


@dataclass
class _Weights:
    """A state dict sorted by place: its blocks in serial order, its subnets by stage, and all the rest.

    Identity convolutions are made once for each form (inner and outer channels, kernel, groups, dtype): fresh
    memory is what inheriting costs.
    """

    prefix: str
    rest: State = field(default_factory=dict)
    blocks: list[State] = field(default_factory=list)
    subnets: list[list[_Subnet]] = field(default_factory=list)
    identities: dict[tuple[int, int, int, int, torch.dtype], Tensor] = field(default_factory=dict)

    def identity(self, like: Tensor, inner: int, outer: int, kernel: int, groups: int) -> Tensor:
        """The weight of a convolution that computes the identity, as `torch.nn.init.dirac_` makes it."""
        form = inner, outer, kernel, groups, like.dtype
        if form not in self.identities:
            weight = like.new_zeros(outer, inner // groups, kernel, kernel)
            channels = torch.arange(outer, device=like.device)
            within = channels % (outer // groups)
            kept = within < inner // groups
            weight[channels[kept], within[kept], kernel // 2, kernel // 2] = 1
            self.identities[form] = weight
        return self.identities[form]


def inherit(
    state: Mapping[str, Tensor], spec: NetworkSpec, morphs: Iterable[Morph], normalization: str | None = None
) -> State:
    """Apply morphs to weights.

    Args:
        state: the parent's, of a backbone or a detector; it is left as it is.
        spec: the parent's.
        morphs: in order.
        normalization: what the child is built with; by default the parent's. The tensors are still those of
            the parent's kind, which `load_weights` fits.

    Returns:
        The child's state dict. Its tensors are the parent's own wherever nothing is new, and equal new ones
        may be one, so nobody may write to them. Where a stride has passed a doubling, the detector's lateral
        convolution no longer fits: see `load_weights` and `models.refit.refit_laterals`.

    Raises:
        ValueError: if the weights are not of this spec, or a morph is not legal.
    """
    weights = _sorted_by_place(state, spec)
    frozen = _is_frozen(weights.blocks[0]) if normalization is None else normalization == "frozen"
    for morph in morphs:
        child = apply(spec, morph)
        match morph:
            case Swap():
                pass  # the blocks' order stays; their places follow from the child's spec
            case Expand(after) | Insert(after):
                _insert(weights, child, after + 1, frozen, fresh=isinstance(morph, Insert))
            case NewStage() | InsertStage():
                _insert(weights, child, len(child.blocks) - 1, frozen, fresh=isinstance(morph, InsertStage))
            case Assemble():
                _assemble(weights, child)
        if not any(child.architecture.subnets):
            weights.subnets = [[] for _ in child.stages]
        spec = child
    return _joined(weights, spec)


def _sorted_by_place(state: Mapping[str, Tensor], spec: NetworkSpec) -> _Weights:
    prefix = BODY if any(key.startswith(BODY) for key in state) else ""
    weights = _Weights(prefix)
    serial: dict[tuple[int, int], State] = {}
    ups: dict[tuple[int, int], State] = {}
    parallel: dict[tuple[int, int, int], State] = {}
    for key, tensor in state.items():
        name = key.removeprefix(prefix)
        if prefix and name == key:
            weights.rest[key] = tensor
        elif match := _STAGE_KEY.fullmatch(name):
            stage, block, tail = match.groups()
            serial.setdefault((int(stage), int(block)), {})[tail] = tensor
        elif match := _SUBNET_KEY.fullmatch(name):
            stage, k, up, block, tail = match.groups()
            if up:
                ups.setdefault((int(stage), int(k)), {})[up] = tensor
            else:
                parallel.setdefault((int(stage), int(k), int(block)), {})[tail] = tensor
        else:
            weights.rest[key] = tensor

    counts = spec.architecture.subnets or (0,) * len(spec.stages)
    expected = {(shape.stage, shape.position) for shape in spec.blocks}
    expected_ups = {(stage, k) for stage, count in enumerate(counts) for k in range(count)}
    expected_parallel = {(stage, k, block) for stage, k in expected_ups for block in range(len(spec.stages[stage]))}
    wrong = (serial.keys() ^ expected) | (ups.keys() ^ expected_ups) | (parallel.keys() ^ expected_parallel)
    if wrong:
        raise ValueError(
            f"weights: these are not of {spec.architecture}; what they have or lack at "
            f"{', '.join('.'.join(map(str, place)) for place in sorted(wrong)[:4])} does not fit"
        )
    weights.blocks = [serial[shape.stage, shape.position] for shape in spec.blocks]
    weights.subnets = [
        [
            _Subnet(ups[stage, k], [parallel[stage, k, block] for block in range(len(spec.stages[stage]))])
            for k in range(count)
        ]
        for stage, count in enumerate(counts)
    ]
    return weights


def _joined(weights: _Weights, spec: NetworkSpec) -> State:
    """The state dict of what stands in `weights`, its places from `spec`."""
    prefix = weights.prefix
    state = dict(weights.rest)
    for shape, block in zip(spec.blocks, weights.blocks, strict=True):
        for tail, tensor in block.items():
            state[f"{prefix}stages.{shape.stage}.{shape.position}.{tail}"] = tensor
    for stage, subnets in enumerate(weights.subnets):
        for k, subnet in enumerate(subnets):
            here = f"{prefix}subnets.{stage}.{k}"
            for tail, tensor in subnet.up.items():
                state[f"{here}.up.{tail}"] = tensor
            for position, block in enumerate(subnet.blocks):
                for tail, tensor in block.items():
                    state[f"{here}.blocks.{position}.{tail}"] = tensor
    return state


def _is_frozen(block: State) -> bool:
    """Whether a block's normalisations are frozen: these have statistics but no count of batches."""
    return "norm1.running_var" in block and "norm1.num_batches_tracked" not in block


def _insert(weights: _Weights, child: NetworkSpec, index: int, frozen: bool, *, fresh: bool) -> None:
    model = weights.blocks[index - 1]
    block = _zero_branch(weights, child.architecture.block, child.blocks[index], model, frozen)
    weights.blocks.insert(index, _freshly_drawn(block) if fresh else block)


def _freshly_drawn(block: State) -> State:
    """A block of these shapes as `models.blocks` builds it: convolutions by He, all scales 1."""
    drawn = {}
    for tail, tensor in block.items():
        if tail.startswith("conv"):
            drawn[tail] = nn.init.kaiming_normal_(torch.empty_like(tensor), mode="fan_out", nonlinearity="relu")
        else:
            drawn[tail] = torch.ones_like(tensor) if tail.endswith(".weight") else tensor
    return drawn


def _zero_branch(weights: _Weights, block_type: str, shape: BlockShape, model: State, frozen: bool) -> State:
    """The weights of a block whose branch is exactly zero, with the model block's kind of normalisation.

    The convolutions are Dirac's (identities) and the last normalisation has scale and shift zero, so that it
    can learn. A scale that will be `frozen` can't: there the last convolution is zero instead.
    """
    if block_type == "BB":
        convolutions = [
            (shape.in_channels, shape.mid_channels, 3, 1),
            (shape.mid_channels, shape.out_channels, 3, 1),
        ]
    else:
        groups = XB_GROUPS if block_type == "XB" else 1
        convolutions = [
            (shape.in_channels, shape.mid_channels, 1, 1),
            (shape.mid_channels, shape.mid_channels, 3, groups),
            (shape.mid_channels, shape.out_channels, 1, 1),
        ]
    norm_tensors = {tail.removeprefix("norm1."): tensor for tail, tensor in model.items() if tail.startswith("norm1.")}
    like = model["conv1.weight"]

    state: State = {}
    for number, (inner, outer, kernel, groups) in enumerate(convolutions, start=1):
        last = number == len(convolutions)
        if last and frozen:
            state[f"conv{number}.weight"] = like.new_zeros(outer, inner // groups, kernel, kernel)
        else:
            state[f"conv{number}.weight"] = weights.identity(like, inner, outer, kernel, groups)
        for tail, tensor in norm_tensors.items():
            ones = tail == "running_var" or (tail == "weight" and (frozen or not last))
            size = (outer,) if tensor.dim() else ()
            state[f"norm{number}.{tail}"] = tensor.new_ones(size) if ones else tensor.new_zeros(size)
    return state


def _assemble(weights: _Weights, child: NetworkSpec) -> None:
    """Keep the subnets by stage and k; further ones copy their stage, with `up` at zero."""
    counts = child.architecture.subnets or (0,) * len(child.stages)
    for stage, (subnets, count, shapes) in enumerate(zip(weights.subnets, counts, child.stages, strict=True)):
        del subnets[count:]
        first = sum(map(len, child.stages[:stage]))
        blocks = weights.blocks[first : first + len(shapes)]
        while len(subnets) < count:
            like = blocks[0]["conv1.weight"]
            inner, outer = shapes[0].in_channels, shapes[-1].out_channels
            up = {"weight": like.new_zeros(inner, outer, 1, 1), "bias": like.new_zeros(inner)}
            subnets.append(_Subnet(up, blocks))


def load_weights(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Copy weights into a detector or backbone, all but what a new task or a morph must make fresh.

    Class predictors and pyramid levels whose shapes don't fit keep what `module` has, and so do the heads of
    another kind of detector (Faster and Cascade R-CNN, with masks and without), of which the weights have nothing.
    Counts of batches, which only some normalisations keep and none needs, may be there or not.

    Args:
        module: what to load into.
        state: its tensors are read only; they may be views of a shared buffer.

    Returns:
        What did not fit and so is fresh (or left out, where `module` has no such part), by name and sorted, for
        example ``roi_heads.box_predictor`` or ``backbone.fpn.inner_blocks.2``; empty if everything fitted.

    Raises:
        ValueError: naming the keys, if anything else is missing, left over or of another shape; nothing is
            copied then.
    """
    own = module.state_dict()
    # A head of which one side has nothing is of another kind of detector; one that is there in part is broken.
    one_sided = _heads(own) ^ _heads(state)
    fresh = set()
    wrong: dict[str, list[str]] = {"missing": [], "left over": [], "of another shape": []}
    for key in {**own, **state}:
        if key not in state:
            problem = "missing"
        elif key not in own:
            problem = "left over"
        elif own[key].shape != state[key].shape:
            problem = "of another shape"
        else:
            continue
        if unit := _MAY_STAY_FRESH.fullmatch(key):
            fresh.add(unit[1])
        elif (head := _HEAD.fullmatch(key)) and head[1] in one_sided:
            fresh.add(head[1])
        elif not key.endswith(".num_batches_tracked"):
            wrong[problem].append(key)
    if any(wrong.values()):
        found = "; ".join(f"{problem}: {few(keys)}" for problem, keys in wrong.items() if keys)
        raise ValueError(f"weights: they are not of this network; {found}")
    with torch.no_grad():
        for key, tensor in own.items():
            unit = _MAY_STAY_FRESH.fullmatch(key) if fresh else None
            if key in state and not (unit and unit[1] in fresh):
                tensor.copy_(state[key])
    return sorted(fresh)


def misfits(module: nn.Module, names: Iterable[str]) -> list[str]:
    """In words, what `load_weights` said of a module."""
    own = module.state_dict().keys()
    return [f"{name} is {'fresh' if any(key.startswith(f'{name}.') for key in own) else 'left out'}" for name in names]


def _heads(keys: Iterable[str]) -> set[str]:
    """The names of the box and mask heads that these keys are of."""
    return {head[1] for key in keys if (head := _HEAD.fullmatch(key))}
