"""How long a training may take before it counts as hung.

Invariant: deadlines follow from told times alone; they tell a hang from work, and are far too long to tell slow from
fast.
"""

from dataclasses import dataclass, field

FACTOR = 10.0
"""How much longer than the longest before it a training may take."""


@dataclass
class Deadlines:
    """The longest completed training of each recipe.

    Attributes:
        longest: (seconds, GFLOPs of its backbone) by recipe.
    """

    longest: dict[str, tuple[float, float]] = field(default_factory=dict)

    def learn(self, recipe: str, gflops: float, seconds: float) -> None:
        """Take a completed training's time."""
        if recipe not in self.longest or seconds > self.longest[recipe][0]:
            self.longest[recipe] = seconds, gflops

    def of(self, recipe: str, gflops: float) -> float | None:
        """Seconds that a training may take; None while no other of its recipe has been completed."""
        if recipe not in self.longest:
            return None
        seconds, of_longest = self.longest[recipe]
        return FACTOR * seconds * max(1.0, gflops / of_longest)
