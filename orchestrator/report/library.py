"""The chart library of the pages: Apache ECharts, in the copy that Panel ships for pages without a network.

Invariant: Panel itself is never imported; only the one file of it is read.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from orchestrator.errors import UserError

BUNDLED = "dist/bundled/echarts/echarts@*/dist/echarts.min.js"


@cache
def chart_library() -> str:
    """Its source.

    Raises:
        UserError: if the installed Panel has none, or there is none installed.
    """
    package = find_spec("panel")
    roots = list(package.submodule_search_locations or ()) if package else []
    files = sorted(path for root in roots for path in Path(root).glob(BUNDLED))
    if not files:
        what = f"the package panel in {roots[0]} has no {BUNDLED}" if roots else "the package panel is not installed"
        raise UserError(f"report: {what}, whose charts pages are drawn with; install spnas with its constraints.txt")
    return files[-1].read_text("utf-8")
