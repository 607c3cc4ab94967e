from dataclasses import replace

from orchestrator.report.drawing import draw
from orchestrator.report.story import Story


def test_blocks_stand_in_the_order_of_computation_and_deeper_the_coarser_they_are(paper_story: Story) -> None:
    network = paper_story.networks[-1]
    boxes = [box for box in draw(network, (512, 512)).boxes if box.kind == "block"]
    assert [box.label for box in boxes] == [str(block.channels) for block in network.blocks]
    assert [box.x for box in boxes] == sorted({box.x for box in boxes})
    for left, right in zip(network.blocks, network.blocks[1:], strict=False):
        deeper = boxes[right.position].y - boxes[left.position].y
        assert (deeper > 0) == (right.stride > left.stride) and (deeper == 0) == (right.stride == left.stride)


def test_changes_against_the_start_are_marked_by_sign_words_and_kind(paper_story: Story) -> None:
    network = paper_story.networks[-1]
    boxes = [box for box in draw(network, (512, 512)).boxes if box.kind == "block"]
    assert {block.change for block in network.blocks} >= {"expanded"}
    for block, box in zip(network.blocks, boxes, strict=True):
        assert box.change == block.change
        assert box.mark == {"expanded": "+", "swapped": "↕", "": ""}[block.change]
        assert ("as in the start" in box.words) == (block.change == "")


def test_subnets_stand_beside_their_stage_and_new_ones_are_marked(paper_story: Story) -> None:
    start = paper_story.networks[0]
    num_stages = len(start.subnets)
    subnets, added = (0,) * (num_stages - 1) + (2,), (0,) * (num_stages - 1) + (1,)
    drawing = draw(replace(start, subnets=subnets, subnets_added=added), (512, 512))
    beside = [block for block in start.blocks if block.stage == num_stages - 1]
    drawn = [box for box in drawing.boxes if box.kind == "subnet"]
    assert len(drawn) == 2 * len(beside)
    assert [box.change for box in drawn] == [""] * len(beside) + ["expanded"] * len(beside)
    blocks = [box for box in drawing.boxes if box.kind == "block"][-len(beside) :]
    assert {box.x for box in drawn} == {box.x for box in blocks}
    lane = drawing.lanes[-1]
    assert all(lane.y < box.y and box.y + box.height < lane.y + lane.height for box in drawn)


def test_no_two_boxes_overlap_and_all_lie_within_the_drawing(paper_story: Story, msnas_story: Story) -> None:
    for network in (*paper_story.networks, *msnas_story.networks):
        drawing = draw(network, (512, 512))
        for number, box in enumerate(drawing.boxes):
            assert 0 <= box.x and box.x + box.width <= drawing.width and box.y + box.height <= drawing.height
            for other in drawing.boxes[number + 1 :]:
                apart_x = box.x + box.width <= other.x or other.x + other.width <= box.x
                assert apart_x or box.y + box.height <= other.y or other.y + other.height <= box.y


def test_a_multi_scale_network_goes_up_again_with_its_laterals_and_heads(msnas_story: Story) -> None:
    network = msnas_story.networks[0]
    drawing = draw(network, (512, 512))
    laterals = [link for link in drawing.links if link.kind == "lateral"]
    assert len(laterals) == sum(block.lateral is not None for block in network.blocks) > 0
    assert sorted(int(n) for head in drawing.heads for n in head.label.split(",")) == [1, 2, 3, 4, 5]


def test_the_words_of_a_drawing_tell_stages_and_changes(paper_story: Story) -> None:
    words = draw(paper_story.networks[0], (512, 512)).words
    assert "3 blocks at 1/4, then 3 blocks at 1/8" in words and "0 expanded, 0 swapped, 0 subnets added" in words
