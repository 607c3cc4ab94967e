"""What the page says in words and numbers.

Invariant: every text is plain; escaping it is the template's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.report.detections import Picture
from orchestrator.report.story import LineageStep, RunFacts, Story, Trial

STATES = {"running": "running", "ended": "ended", "gone": "not running"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What the lineage's steps gained, by whether they changed the network.

    Attributes:
        since: the first job of the lineage that has a score: the start, or the first path of a super-net.
        is_start: whether that is the start.
        total: of the best against it.
        changed: by steps that changed the network.
        trained: by steps that only trained it: controls, refreshes, the parallel level's start, full trainings.
        num_changed: how many those are.
        num_trained: and those.
    """

    since: int
    is_start: bool
    total: float
    changed: float
    trained: float
    num_changed: int
    num_trained: int


def percent(score: float | None) -> str:
    """A score, or a fraction of any kind, in percent."""
    return "–" if score is None else f"{100 * score:.2f}"


def points(gain: float | None) -> str:
    """A difference of scores, in points of a hundred, with its sign."""
    return "–" if gain is None else f"{100 * gain:+.2f}".replace("-", "−")


def giga(value: float) -> str:
    """GFLOPs, three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def count(value: float) -> str:
    """A number of things: 12,345; 1.2 M."""
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time: 45 s; 12 min; 3.4 h; 2.1 d."""
    for limit, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if unit < 3600 else f"{seconds / unit:.1f} {name}"
    return f"{seconds / 86400:.1f} d"


def when(seconds: float | None) -> str:
    """A moment, in UTC."""
    return "–" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def gain_of(lineage: tuple[LineageStep, ...]) -> Gain | None:
    """What a lineage gained and by what, None if there is nothing to compare."""
    first = next((number for number, step in enumerate(lineage) if step.score is not None), len(lineage))
    if len(lineage) < first + 2:
        return None
    later = lineage[first + 1 :]
    changed = [step.gain or 0.0 for step in later if step.changes_network]
    trained = [step.gain or 0.0 for step in later if not step.changes_network]
    return Gain(
        since=lineage[first].index,
        is_start=first == 0,
        total=(lineage[-1].score or 0.0) - (lineage[first].score or 0.0),
        changed=sum(changed),
        trained=sum(trained),
        num_changed=len(changed),
        num_trained=len(trained),
    )


def state_in_words(facts: RunFacts) -> str:
    """How the run stands."""
    match facts.state:
        case "running":
            return f"running; this page shows it as it was at {when(facts.made_at)}"
        case "ended":
            return f"ended: {facts.ended_because}"
    return "not running: its driver is gone; the same command goes on"


def reading_guide(story: Story) -> Iterator[str]:
    """Sentences on what there is to see, the most important first."""
    metric, best, gain = story.facts.metric, story.best, gain_of(story.lineage)
    told = [trial for trial in story.trials if trial.is_told]
    if best is not None and len(told) > 1:
        yield (
            f"The best is job #{best.index} ({best.role}, {place(best)}): {metric} {percent(best.score)}"
            f" at {giga(best.gflops)} GFLOPs."
        )
    if gain is not None:
        parts = []
        if gain.num_changed:
            parts.append(f"{steps(gain.num_changed, 'changed the network')} and gained {points(gain.changed)}")
        if gain.num_trained:
            trained = f"{steps(gain.num_trained, 'only trained it')} and gained {points(gain.trained)}"
            parts.append(f"{trained}, which any network might have")
        yield f"On its way from {'the start' if gain.is_start else f'job #{gain.since}'}, {'; '.join(parts)}."
    for reignition in story.reignitions:
        if reignition.score_after is not None:
            yield (
                f"After round {reignition.round} it was reignited by job #{reignition.pretrain}: {metric}"
                f" {percent(reignition.score_before)} before, {percent(reignition.score_after)} right after."
            )
    failed = sum(trial.status == "failed" for trial in told)
    lost = sum(len(kind.jobs) for kind in story.failures if kind.what == "lost")
    if failed or lost:
        yield f"{failed} of {len(told)} jobs failed, {lost} attempts were lost: see Failures."


def steps(number: int, what: str) -> str:
    """So many steps did something."""
    return f"{number} step{'s' * (number != 1)} {what}"


def place(trial: Trial | LineageStep) -> str:
    """Where in the search a job is."""
    if trial.phase == "evolution":
        return f"generation {trial.round}"
    return f"{trial.phase} {trial.round}" if trial.phase == "serial" else trial.phase


def seen(picture: Picture, detector: int) -> str:
    """What one detector finds on an image."""
    truth, missed = len(picture.truth), len(picture.missed[detector])
    wrong = sum(not each.is_right for each in picture.found[detector])
    return f"image {picture.index}, {truth - missed} of {truth} objects found" + (f", {wrong} wrong" if wrong else "")
