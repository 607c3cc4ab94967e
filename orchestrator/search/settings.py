"""What a user may set about the search itself; every default stands here."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.architecture import MAX_BLOCKS, Architecture, NetworkSpec
from models.costs import Cost, backbone_costs
from models.detector_shape import DetectorShape
from models.families import AnySpec, network_cost, read_architecture
from models.msnas_encoding import MultiScaleSpec


class Settings(BaseModel):
    """A frozen group of keys; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Objective(Settings):
    """What is optimised on the validation split."""

    metric: str = Field("AP50", description="name of a metric, as the results have it")
    mode: Literal["max", "min"] = Field("max", description="whether more is better")

    def better(self, score: float, than: float) -> bool:
        """Whether `score` is strictly better."""
        return score > than if self.mode == "max" else score < than


class Limits(Settings):
    """What a network may cost; null is no limit."""

    max_gflops: float | None = Field(None, gt=0, description="10^9 multiply-adds of the backbone on one image")
    max_parameters: int | None = Field(None, gt=0, description="parameters of the backbone")

    def allow(self, architecture: Architecture, start: NetworkSpec, image_size: tuple[int, int]) -> bool:
        """Whether a fresh build of the encoding, with the start's stem and width, stays within them."""
        if self.max_gflops is None and self.max_parameters is None:
            return True
        spec = NetworkSpec.fresh(architecture, start.stem, start.base_channels)
        costs = backbone_costs(spec, *image_size)
        return (self.max_gflops is None or costs.macs <= self.max_gflops * 1e9) and (
            self.max_parameters is None or costs.parameters <= self.max_parameters
        )


class SerialSettings(Limits):
    """The serial level: swap, expand, reignite (section 3.1, Algorithm 1)."""

    acceptance: Literal["paper", "paired"] = Field(
        "paper", description="paper: better than the baseline; paired: better than a control trained alike, twice"
    )
    pace: Literal["steady", "generation"] | None = Field(
        None, description="steady goes with paper, generation with paired; null takes the one that fits"
    )
    confirmations: int = Field(
        1,
        ge=0,
        le=1000,
        description="further seeds on which a paired winner must win again; each costs candidates "
        "(docs/studies/acceptance.md)",
    )
    num_morphs: int = Field(
        3,
        ge=0,
        le=10,
        description="random swaps and expands per candidate; 0: each is the baseline trained on (paper)",
    )
    inherit: bool = Field(
        True,
        description="train candidates, of both levels, from their baseline's weights; false: each from fresh ones",
    )
    n_stuck: int = Field(20, ge=1, description="candidates without an improvement until the search is stuck")
    num_rounds: int = Field(2, ge=1, description="rounds of search, each ended by a reignition")
    reignite: bool = Field(True, description="pretrain the baseline anew when the search is stuck")
    in_flight: int = Field(
        16,
        ge=1,
        le=100_000,
        description="jobs decided but not told; the size of a generation. More are faster and find less: see the study "
        "in-flight",
    )
    min_blocks: int = Field(8, ge=1, description="fewest serial blocks")
    max_blocks: int = Field(60, ge=1, le=MAX_BLOCKS, description="most serial blocks")
    min_stages: int = Field(4, ge=1, description="fewest encoded stages")
    max_stages: int = Field(6, ge=1, le=8, description="most encoded stages; the pyramid is built for these")
    max_candidates: int | None = Field(None, ge=1, description="candidates after which a round ends, null: no limit")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fitting = "steady" if self.acceptance == "paper" else "generation"
        if self.pace not in (None, fitting):
            raise ValueError(f"pace {self.pace!r} does not go with acceptance {self.acceptance!r}; use {fitting!r}")
        if self.paired and self.num_morphs == 0:
            raise ValueError("num_morphs 0 goes with acceptance 'paper'; 'paired' has a control without morphs itself")
        if self.reignite and not self.inherit:
            raise ValueError("reignite true has a use only for weights that are inherited; set inherit or it otherwise")
        for least, most in (("min_blocks", "max_blocks"), ("min_stages", "max_stages")):
            if getattr(self, least) > getattr(self, most):
                raise ValueError(
                    f"{least} {getattr(self, least)} is more than {most} {getattr(self, most)}; it may be at most that"
                )
        return self

    @property
    def paired(self) -> bool:
        """Whether candidates are judged against a control."""
        return self.acceptance == "paired"


class ParallelSettings(Limits):
    """The parallel level: subnets along the stages (section 3.2). Its acceptance rule is the serial level's."""

    max_subnets: int = Field(3, ge=1, le=5, description="most subnets beside one stage, the paper's K")
    n_stuck: int = Field(20, ge=1, description="candidates without an improvement until the level ends")
    in_flight: int = Field(16, ge=1, le=100_000, description="jobs decided but not told; the size of a generation")
    inverse_flops_power: float = Field(
        1.0, ge=0, description="a subnet is added to a stage with probability proportional to (1/FLOPs) to this power"
    )
    max_candidates: int | None = Field(None, ge=1, description="candidates after which the level ends, null: no limit")


class EvolutionSettings(Settings):
    """The evolution of MSNAS (section 3.4, Algorithm 1), and random search in its place."""

    population: int = Field(
        50, ge=1, le=100_000, description="random networks to begin with, and survivors of each generation"
    )
    generations: int = Field(20, ge=0, le=100_000, description="generations after the first population")
    num_children: int = Field(50, ge=0, le=100_000, description="children by crossover and mutation in each generation")
    num_random: int = Field(
        10, ge=0, le=100_000, description="random children in each generation; 0 leaves them out (Table 5)"
    )
    mutation_probability: float = Field(
        0.1, gt=0, le=1, description="a mutation draws each stride anew with this probability"
    )
    max_attempts: int = Field(
        1000, ge=1, le=1_000_000, description="attempts at children in each generation, one of every operator each"
    )
    target_gflops: float | None = Field(
        None, gt=0, description="10^9 multiply-adds of encoder and RPN that samples are to have; null: the start's"
    )
    flops_window: float = Field(0.01, gt=0, le=1, description="how far they may be from that, as a share of it")
    image_size: tuple[int, int] | None = Field(
        None, description="height and width for counting them, such as [832, 1280]; null: the data's, filled up to 64"
    )
    utilization: Literal["constrained", "free", "fpn"] = Field(
        "constrained",
        description="which features heads may read: by equation 7, any (Table 3), or as FPN's heads do (Table 2)",
    )
    fine_tune: bool = Field(
        True, description="train every sample on from the super-net's weights before it is evaluated (Table 4)"
    )
    top_k: int = Field(5, ge=1, le=1000, description="best samples that are retrained in full")

    def num_samples(self, generation: int) -> int:
        """Samples of a generation, from 0, the first population."""
        return self.num_children + self.num_random if generation else self.population


class TrialSettings(Settings):
    """One network of a list to be trained, independent of the others; without architecture and morphs the start."""

    architecture: str | None = Field(
        None,
        description="an encoding or a name: built with the start's stem and base_channels, from fresh weights",
    )
    morphs: str | None = Field(
        None,
        max_length=1000,
        description="morphs of the start, which has the weights of --from: `swap(1) expand(2)`; the empty text is none",
    )
    recipe: Literal["serial", "parallel", "final"] = Field("serial", description="the training settings of that name")
    replicate: int = Field(0, ge=0, le=1_000_000, description="trials with the same one see the same data in one order")
    pretrain: bool = Field(
        False, description="pretrain the architecture first, once for all trials of the same replicate (reignition)"
    )

    @field_validator("architecture")
    @classmethod
    def _parses(cls, text: str | None) -> str | None:
        return None if text is None else str(read_architecture(text))

    @model_validator(mode="after")
    def _is_one_network(self) -> Self:
        if self.architecture is not None and self.morphs is not None:
            raise ValueError("morphs are of the start, not of an architecture; leave one of them out")
        if self.pretrain and self.architecture is None:
            raise ValueError("pretrain true is for an architecture; give that, or leave pretrain out")
        return self


class SearchSettings(Settings):
    """All that an algorithm knows; a search is a function of this and of its outcomes."""

    seed: int
    objective: Objective
    start: AnySpec
    pretrain_start: bool
    serial: SerialSettings
    parallel: ParallelSettings | None
    evolution: EvolutionSettings = Field(default_factory=EvolutionSettings)
    trials: tuple[TrialSettings, ...] = ()
    detector: DetectorShape = Field(default_factory=DetectorShape)
    train_full: bool
    image_size: tuple[int, int]
    max_failures_in_a_row: int

    def cost(self, spec: AnySpec) -> Cost:
        """What a network costs on one of the images that costs are counted for; see `models.families.network_cost`."""
        size = self.evolution.image_size if isinstance(spec, MultiScaleSpec) else None
        return network_cost(spec, *(size or self.image_size), self.detector)

    @property
    def start_network(self) -> NetworkSpec:
        """The start of a search by morphs, which has no other family's."""
        assert isinstance(self.start, NetworkSpec), f"{self.start.architecture} can't be morphed"
        return self.start

    def in_flight(self, phase: str) -> int:
        """Most jobs that may be pending in a phase; a generation has at least a control and a child."""
        level = self.parallel if phase == "parallel" and self.parallel else self.serial
        return max(level.in_flight, 2) if self.serial.paired else level.in_flight
