"""Networks by name: names, what they stand for, and what their page says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models import get_model_weights

from experiments.zoo_table import encodings, multi_scale_encodings, table
from models import build_backbone
from models.architecture import Architecture, ArchitectureError, NetworkSpec
from models.costs import backbone_costs
from models.zoo import ZOO, is_name, read_architecture, stem_of, zoo_network
from tests.conftest import REPOSITORY
from tests.models.strategies import architectures

PUBLISHED = [name for name, network in ZOO.items() if network.torchvision]


def test_names_are_lower_case_with_hyphens_and_no_encodings() -> None:
    for name in ZOO:
        assert name == name.lower() and "_" not in name and is_name(name)


@pytest.mark.parametrize("name", ZOO)
def test_a_name_may_be_written_with_underscores_and_capitals(name: str) -> None:
    for text in (name, name.replace("-", "_"), name.upper()):
        assert zoo_network(text) is ZOO[name]
        assert read_architecture(text) == ZOO[name].architecture
        assert stem_of(text) == ZOO[name].stem


@given(architectures())
def test_an_encoding_is_no_name_and_has_the_papers_stem(architecture: Architecture) -> None:
    assert not is_name(str(architecture))
    assert read_architecture(str(architecture)) == architecture
    assert stem_of(str(architecture)) == "deep"


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("resnet51", "resnet50"),
        ("spnet-coco", "spnet-coco-xb"),
        ("SPNet VOC", "spnet-voc"),
        ("resnext50", "resnext50-32x4d"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(text: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"^architecture {text!r}: .* the nearest is {nearest} .*$"):
        read_architecture(text)


@given(st.text(max_size=300))
def test_any_text_is_a_network_or_refused_in_a_short_line(text: str) -> None:
    try:
        read_architecture(text)
    except ValueError as error:
        assert len(str(error)) < 600 and str(error).isprintable()


@pytest.mark.parametrize("text", ["BB", "BNB(111", "XB(1,2)"])
def test_a_malformed_encoding_is_told_by_its_position(text: str) -> None:
    with pytest.raises(ArchitectureError, match="position"):
        read_architecture(text)


def test_a_builder_takes_a_name_with_its_stem_or_another() -> None:
    assert build_backbone("resnet18", base_channels=4).spec == NetworkSpec.fresh(
        ZOO["resnet18"].architecture, "resnet", 4
    )
    assert build_backbone("resnet18", "deep", base_channels=4).spec.stem == "deep"


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_those_that_torchvision_publishes(name: str) -> None:
    published = get_model_weights(ZOO[name].torchvision)["IMAGENET1K_V1"].meta
    costs = backbone_costs(ZOO[name].spec, 224, 224, num_classes=1000)
    assert costs.parameters == published["num_params"]
    assert costs.macs / 1e9 == pytest.approx(published["_ops"], abs=0.0006)


def test_the_page_has_the_tables_as_they_are_computed() -> None:
    page = (REPOSITORY / "docs" / "zoo.md").read_text()
    for part in (encodings(), multi_scale_encodings(), table()):
        assert part in page, "run python -m experiments.zoo_table and put what it prints into docs/zoo.md"
