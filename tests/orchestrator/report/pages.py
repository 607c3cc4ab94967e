"""Pages taken apart, and a story in which whatever can be text is hostile."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

from orchestrator.report.story import Story

HOSTILE = (
    "\"'></script></style></textarea>--><img src=x onerror=window.owned=1><script>window.owned=1</script>{{7*7}}<!--"
)


@dataclass
class Page(HTMLParser):
    """The elements and inline texts of a page."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.elements.append((tag, values))
        self._inside = f"{tag} {values['type']}" if "type" in values else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts.append((self._inside, data))

    def inside(self, tag: str) -> list[str]:
        """The texts right within elements of one name."""
        return [text for name, text in self.texts if name == tag]

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of the elements of one name."""
        return [values for name, values in self.elements if name == tag]

    @property
    def data(self) -> Any:
        """What the scripts draw from."""
        return json.loads("".join(self.inside("script application/json")))

    @property
    def text(self) -> str:
        """What is to be read."""
        return " ".join(
            " ".join(text for name, text in self.texts if name.split()[:1] not in (["script"], ["style"])).split()
        )


def parse(text: str) -> Page:
    """Take a page apart."""
    page = Page()
    page.feed(text)
    page.close()
    return page


def hostile(story: Story) -> Story:
    """The same run with hostile text wherever a run's folder has text."""
    facts = replace(
        story.facts,
        **dict.fromkeys(("name", "address", "title", "ended_because", "given", "config_yaml", "metric"), HOSTILE),
        versions={HOSTILE: HOSTILE},
        reproduce=(HOSTILE,),
    )
    words = ("architecture", "role", "phase", "recipe", "seed", "worker", "error", "notes", "kind")
    return replace(
        story,
        facts=facts,
        trials=tuple(
            replace(trial, **dict.fromkeys(words, HOSTILE), morphs=(HOSTILE,), metrics={HOSTILE: 0.5})
            for trial in story.trials
        ),
        phases=tuple(replace(span, name=HOSTILE) for span in story.phases),
        networks=tuple(replace(network, name=HOSTILE, architecture=HOSTILE) for network in story.networks),
        lineage=tuple(
            replace(
                step,
                architecture=HOSTILE,
                role=HOSTILE,
                morphs=tuple(replace(each, morph=HOSTILE, words=HOSTILE) for each in step.morphs),
            )
            for step in story.lineage
        ),
        attempts=tuple(replace(each, workers=(HOSTILE,), reason=HOSTILE, role=HOSTILE) for each in story.attempts),
        workers=tuple(replace(worker, name=HOSTILE) for worker in story.workers),
        failures=tuple(replace(kind, reason=HOSTILE) for kind in story.failures),
    )
