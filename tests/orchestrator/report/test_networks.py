import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.architecture import Architecture, NetworkSpec
from models.families import AnySpec, network_cost, network_parts
from models.morphism import Assemble, Expand, Insert, InsertStage, Morph, NewStage, Swap, apply, apply_all, legal_swaps
from models.msnas_encoding import MultiScaleSpec, SearchSpace
from orchestrator.report.networks import Judged, ancestors, drawn, in_words, lineage
from orchestrator.report.story import Network, Story
from orchestrator.search.protocol import Job
from tests.models.strategies import architectures, morph_chains, small_spec

SIZE = (64, 96)
SPACE = SearchSpace(block="BB", channels=4, num_blocks=6, utilization="free")


def job(index: int, spec: AnySpec, parent: int | None = None, *morphs: Morph, **values: object) -> Job:
    usual = {"kind": "train_detector", "role": "candidate", "phase": "serial", "round": 1, "recipe": "serial"}
    return Job(
        **{"index": index, "spec": spec, "parent": parent, "morphs": morphs, "seed": (0, 0, 0), **usual, **values}
    )


def drawing(start: NetworkSpec, *chains: tuple[Morph, ...]) -> Network:
    """The last of a line of jobs, each made by a chain of morphs."""
    jobs = [job(0, start)]
    for morphs in chains:
        jobs.append(job(len(jobs), apply_all(jobs[-1].spec, morphs), jobs[-1].index, *morphs))  # type: ignore[arg-type]
    return drawn("best", [Judged(job=each, score=0.5, told=None) for each in jobs], jobs[0], SIZE)


@settings(max_examples=40)
@given(st.data())
def test_what_is_marked_follows_from_the_morphs(data: st.DataObject) -> None:
    start = small_spec(data.draw(architectures()))
    morphs = data.draw(morph_chains(start))
    half = data.draw(st.integers(0, len(morphs)))
    network = drawing(start, morphs[:half], morphs[half:])
    added = sum(isinstance(morph, Expand | NewStage | Insert | InsertStage) for morph in morphs)
    assert sum(block.change == "expanded" for block in network.blocks) == added
    kept = [block for block in network.blocks if block.origin is not None]
    assert [block.origin for block in kept] == list(range(len(start.blocks)))
    for block in kept:
        assert (block.change == "swapped") == (block.stride != 4 << start.blocks[block.origin or 0].stage)
    assert [block.channels for block in network.blocks] == [b.out_channels for b in apply_all(start, morphs).blocks]
    subnets = morphs[-1].subnets if isinstance(morphs[-1], Assemble) else (0,) * network.blocks[-1].stage + (0,)
    assert network.subnets == network.subnets_added == subnets


def test_a_swap_that_is_undone_leaves_no_mark() -> None:
    start = small_spec(Architecture.parse("BB(11,d1,1)"))
    assert [block.change for block in drawing(start, (Swap(1),)).blocks] == ["", "swapped", "", "", ""]
    assert {block.change for block in drawing(start, (Swap(1),), (Swap(1),)).blocks} == {""}


@settings(max_examples=40)
@given(st.data())
def test_words_for_a_swap_say_which_block_goes_where(data: st.DataObject) -> None:
    start = small_spec(data.draw(architectures().filter(lambda drawn: legal_swaps(drawn.stages))))
    swap = data.draw(st.sampled_from(legal_swaps(start.architecture.stages)))
    found = re.fullmatch(r"block (\d+) moves from stage (\d+) to stage (\d+)", in_words(swap, start.architecture))
    assert found is not None
    block, before, after = (int(text) - 1 for text in found.groups())
    assert start.blocks[block].stage == before
    assert apply(start, swap).blocks[block].stage == after


@pytest.mark.parametrize(
    ("morph", "words"),
    [
        (Expand(2), "a new block after block 3, in stage 2"),
        (NewStage(), "a new stage 4 of one block"),
        (Assemble((0, 2, 1)), "0, 2, 1 subnets beside the stages"),
    ],
)
def test_other_morphs_have_words_too(morph: Morph, words: str) -> None:
    assert in_words(morph, Architecture.parse("BB(11,d1,1)")) == words


@settings(max_examples=40)
@given(st.data())
def test_a_networks_parts_cost_together_what_it_costs(data: st.DataObject) -> None:
    spec: AnySpec
    if data.draw(st.booleans()):
        spec = small_spec(data.draw(architectures(max_subnets=2)))
    else:
        spec = MultiScaleSpec(SPACE.at(data.draw(st.integers(0, SPACE.size - 1))))
    parts, whole = network_parts(spec, *SIZE), network_cost(spec, *SIZE)
    assert sum(part.serial.macs + part.parallel.macs for part in parts) == whole.macs
    assert sum(part.serial.parameters + part.parallel.parameters for part in parts) == whole.parameters
    assert parts[0].name == "stem"


@settings(max_examples=40)
@given(st.integers(0, SPACE.size - 1), st.integers(0, SPACE.size - 1))
def test_a_path_is_marked_where_its_resolutions_and_heads_differ(first: int, second: int) -> None:
    start, spec = MultiScaleSpec(SPACE.at(first)), MultiScaleSpec(SPACE.at(second))
    begin, other = job(0, start, role="supernet"), job(1, spec, 0)
    network = drawn("best", [Judged(job=each, score=None, told=None) for each in (begin, other)], begin, SIZE)
    strides = zip(start.architecture.feature_strides, spec.architecture.feature_strides, strict=True)
    assert [block.change == "swapped" for block in network.blocks] == [one != two for one, two in strides]
    heads = zip(start.architecture.heads, spec.architecture.heads, strict=True)
    assert [head.changed for head in network.heads] == [one != two for one, two in heads]
    for head in network.heads:
        assert network.blocks[head.block].stride == head.stride
    for block in network.blocks:
        if block.lateral is not None:
            source = network.blocks[block.lateral]
            assert source.stride == block.stride and source.stage < block.stage


def test_a_lineage_tells_each_morph_and_each_gain() -> None:
    start = small_spec(Architecture.parse("BB(11,d1,1)"))
    morphs = (Expand(0), Swap(2))
    jobs = [job(0, start, role="start"), job(1, start, 0, role="control"), job(2, apply_all(start, morphs), 1, *morphs)]
    scores = (0.5, 0.55, 0.52)
    judged = [Judged(job=each, score=score, told=None) for each, score in zip(jobs, scores, strict=True)]
    steps = lineage(judged, SIZE)
    assert [step.gain for step in steps] == [None, pytest.approx(0.05), pytest.approx(-0.03)]
    assert [step.changes_network for step in steps] == [False, False, True]
    assert [(each.morph, each.architecture) for each in steps[2].morphs] == [
        ("expand(0)", "BB(111,d1,1)"),
        ("swap(2)", "BB(11,1d1,1)"),
    ]
    assert steps[2].gflops == steps[2].morphs[-1].gflops


def test_a_lineage_leads_from_the_start_to_the_best(paper_story: Story, msnas_story: Story) -> None:
    for story in (paper_story, msnas_story):
        assert story.lineage[0].index == 0 and story.best is not None
        assert story.lineage[-1].index == story.best.index == story.networks[-1].index
    gains = [step.gain for step in paper_story.lineage if step.gain is not None]
    first, last = paper_story.lineage[0].score, paper_story.lineage[-1].score
    assert first is not None and last is not None and sum(gains) == pytest.approx(last - first)
    for before, after in zip(paper_story.lineage, paper_story.lineage[1:], strict=False):
        assert paper_story.trials[after.index].parent == before.index


def test_a_full_training_from_scratch_comes_from_the_job_whose_network_it_trains() -> None:
    spec = MultiScaleSpec(SPACE.at(7))
    jobs = [job(0, spec, role="supernet"), job(1, spec, 0), job(2, spec, role="final", seed=(0, 1, 0))]
    assert [each.index for each in ancestors(jobs[2], jobs)] == [0, 1, 2]


def test_a_training_of_one_network_comes_from_itself() -> None:
    only = job(0, small_spec(Architecture.parse("BB(1,1)")), role="final")
    assert ancestors(only, [only]) == [only]
