"""The papers' networks by name: Table 7's searched ones, and the hand-made ones they start from.

Table 7 and the supplement's Figure 1 disagree in some run lengths. These are Figure 1's, with Table 7's
doublings: they reproduce the supplement's multiply-adds to 1 %, `spnet_coco_xb` to 3.5 %. Those are the
serial networks' figures (``.serial``).
"""

from models.architecture import Architecture


def _ones(count: int) -> str:
    return "1" * count


ZOO: dict[str, Architecture] = {
    name: Architecture.parse(text)
    for name, text in {
        "resnet18": "BB(11,d1,d1,d1)",
        "resnet34": "BB(111,d111,d11111,d11)",
        "resnet50": "BNB(111,d111,d11111,d11)",
        "resnet101": f"BNB(111,d111,d{_ones(22)},d11)",
        "resnext50_32x4d": "XB(111,d111,d11111,d11)",
        "resnext101_32x4d": f"XB(111,d111,d{_ones(22)},d11)",
        "spnet_voc": f"BB(11d,1111,d{_ones(9)},d111,1,1111)+(0,0,0,0,0,1)",
        "spnet_ecp": "BNB(111d1111,d1111,11d,1111,1111)+(0,2,1,1,0)",
        "spnet_bdd": f"BNB({_ones(10)}d,{_ones(17)},d{_ones(17)},d111111,111,1)+(0,1,2,3,0,0)",
        "spnet_coco": f"BNB(1111d1,{_ones(8)}d,11,{_ones(17)}d,{_ones(12)},1)+(0,0,0,1,0,0)",
        "spnet_coco_xb": f"XB(1111,d1111,d{_ones(24)},d11,1)+(1,0,2,1,2)",
    }.items()
}
"""Architectures by name. With stem ``resnet`` and 64 base channels the ResNets are torchvision's."""
