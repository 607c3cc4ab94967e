"""The tables of docs/zoo.md: what the named networks cost, beside what has been published.

    python -m experiments.zoo_table

Invariant: the page holds exactly what this prints; a test compares them.
"""

from models.architecture import NetworkSpec
from models.costs import Costs, backbone_costs
from models.msnas_zoo import MULTI_SCALE_ZOO
from models.zoo import ZOO

SIDE = 224
NUM_CLASSES = 1000


def table() -> str:
    """Markdown, a row for each network: billions of multiply-adds at 224 x 224 pixels, millions of parameters."""
    lines = [
        "| name | GFLOPs | published | difference | parameters (M) | with subnets: GFLOPs | parameters (M) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, network in ZOO.items():
        serial = _costs(NetworkSpec.fresh(network.architecture.serial, network.stem))
        whole = _costs(network.spec)
        gflops = serial.macs / 1e9
        published, difference = "", ""
        if network.published_gflops is not None:
            published = f"{network.published_gflops:.1f}"
            difference = f"{100 * (gflops / network.published_gflops - 1):+.1f} %"
        parallel = [_billions(whole), _millions(whole)] if network.architecture.subnets else ["", ""]
        cells = [f"`{name}`", _billions(serial), published, difference, _millions(serial), *parallel]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def encodings() -> str:
    """Markdown, a row for each network: its encoding and stem."""
    lines = ["| name | encoding | stem |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | `{network.architecture}` | {network.stem} |" for name, network in ZOO.items()]
    return "\n".join(lines)


def multi_scale_encodings() -> str:
    """Markdown, a row for each multi-scale network: its encoding."""
    lines = ["| name | encoding |", "| --- | --- |"]
    lines += [f"| `{name}` | `{network.architecture}` |" for name, network in MULTI_SCALE_ZOO.items()]
    return "\n".join(lines)


def _costs(spec: NetworkSpec) -> Costs:
    return backbone_costs(spec, SIDE, SIDE, num_classes=NUM_CLASSES)


def _billions(costs: Costs) -> str:
    return f"{costs.macs / 1e9:.2f}"


def _millions(costs: Costs) -> str:
    return f"{costs.parameters / 1e6:.2f}"


if __name__ == "__main__":
    print(encodings(), multi_scale_encodings(), table(), sep="\n\n")
