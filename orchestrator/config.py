"""What a user writes: one YAML file, checked whole before anything starts.

Invariant: a `RunConfig` that loads is one that can run: every key is known, every recipe merges, the start network
parses and lies within the limits. What needs the disk or the cluster is checked by `orchestrator.environment`.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from models.architecture import NetworkSpec, Normalization
from models.costs import backbone_costs
from models.detector_shape import DetectorShape
from models.families import AnySpec, is_multi_scale, read_architecture, read_spec
from models.msnas_encoding import FEATURE_STRIDES, MultiScale, MultiScaleSpec
from models.wording import brief
from models.zoo import DEFAULT_STEM
from orchestrator.given_settings import GivenConfig
from orchestrator.mistakes import mistakes
from orchestrator.recorders.settings import RecordersConfig
from orchestrator.search.algorithms import SUPER_NET_ALGORITHMS, AlgorithmName, build_algorithm
from orchestrator.search.msnas import check_window, space_of
from orchestrator.search.protocol import Algorithm
from orchestrator.search.settings import (
    EvolutionSettings,
    Limits,
    Objective,
    ParallelSettings,
    SearchSettings,
    SerialSettings,
    Settings,
    TrialSettings,
)
from orchestrator.search.trials import check_trials
from workers.metric_names import is_loss, is_metric, names_of
from workers.settings import (
    AnnotatedData,
    DetectionDataSettings,
    DetectorSettings,
    NumNodes,
    ReignitionSettings,
    TrainingSettings,
)


class StartConfig(Settings):
    """The network that a run starts from, and its weights."""

    architecture: str = Field(
        description="an encoding such as BB(11,d1,d1,d1), or a name that `spnas arch` lists, such as resnet50; a name "
        "brings its own stem, unless stem says otherwise. For msnas and random any network of the super-net"
    )
    shortcuts: str | None = Field(
        None,
        description="one letter for each block: i identity, s subsampling, p projection; null: a fresh build's. What "
        "a search has found may have others",
    )
    stem: Literal["deep", "resnet"] = Field("deep", description="two strided 3x3 convolutions, or 7x7 and max-pool")
    base_channels: int = Field(64, ge=1, description="channels of the stem and of the first blocks")
    weights: str | None = Field(
        None, description="torchvision:resnet50 and the like, a file, pretrain, or null for random weights"
    )
    given: GivenConfig | None = Field(None, description="in place of weights; written by --from, not by hand")
    training: dict[str, Any] = Field(default_factory=dict, description="keys of training that differ for the start")

    @model_validator(mode="before")
    @classmethod
    def _stem_of_a_name(cls, values: Any) -> Any:
        match values:
            case {"architecture": str(name)} if "stem" not in values:
                return {**values, "stem": _stem_of(name)}
        return values

    @field_validator("architecture")
    @classmethod
    def _parses(cls, text: str) -> str:
        return str(read_architecture(text))

    @model_validator(mode="after")
    def _builds(self) -> Self:
        _ = self.spec
        if is_multi_scale(self.architecture) and (self.shortcuts is not None or self.base_channels != 64):
            raise ValueError(f"{self.architecture} goes with neither shortcuts nor base_channels; leave them out")
        if self.given is not None and self.weights is not None:
            raise ValueError(f"weights {brief(self.weights)} stand beside those of --from; leave one of them out")
        return self

    @property
    def spec(self) -> AnySpec:
        """The start network."""
        architecture = read_architecture(self.architecture)
        if isinstance(architecture, MultiScale):
            return MultiScaleSpec(architecture, self.stem)
        if self.shortcuts is None:
            return NetworkSpec.fresh(architecture, self.stem, self.base_channels)
        return NetworkSpec(architecture, self.shortcuts, self.stem, self.base_channels)


class ParallelConfig(ParallelSettings):
    """The parallel level with its training."""

    training: dict[str, Any] = Field(default_factory=dict, description="keys of training that differ in this level")


class BudgetConfig(Settings):
    """When to end early; a later command with a larger budget goes on."""

    max_candidates: int | None = Field(None, ge=1, description="candidates of the whole search")
    max_gpu_hours: float | None = Field(
        None, gt=0, description="hours of all workers' devices (CPUs where no GPU is) in trainings that were told"
    )
    deadline: datetime | None = Field(None, description="a time such as 2026-12-24T18:00:00Z; UTC if no zone is given")


class RecipeConfig(Settings):
    """How some of the jobs train; every other key is one of training's."""

    model_config = ConfigDict(frozen=True, extra="allow")

    num_nodes: NumNodes = Field(1, description="workers that train it together, or all")

    @property
    def training(self) -> dict[str, Any]:
        """The keys of training that differ."""
        return dict(self.model_extra or {})


class FinalConfig(RecipeConfig):
    """Full training of the winner, or of the best samples; every other key is one of training's."""

    start: Literal["search"] = Field(
        "search",
        description="as the search says: train on from its weights, after msnas and random from scratch",
    )


class FleetConfig(Settings):
    """The workers: one actor for each node, or for each share of one."""

    num_workers: int = Field(1, ge=1, description="node workers")
    gpus_per_worker: int = Field(
        0, ge=0, le=64, description="GPUs of each worker, usually all of a node's; 0 trains on the CPU"
    )
    ranks_per_worker: int | None = Field(
        None, ge=1, le=64, description="processes that train together in each worker; null: one for each GPU, or one"
    )
    cpus_per_worker: int = Field(1, ge=1, description="CPUs of each worker")
    loaders_per_rank: int | None = Field(
        None,
        ge=0,
        le=256,
        description="threads of each training process that read images ahead; null: its share of the worker's CPUs, "
        "less one for itself; 0 reads an image when it is wanted",
    )
    label_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Ray labels that a worker's node must have, such as ray.io/accelerator-type: H100",
    )
    max_attempts: int = Field(
        4,
        ge=1,
        description="tries of one job that are lost one after the other without getting further; then the run stops",
    )
    checkpoint_minutes: float = Field(
        5.0, ge=0, description="time between two checkpoints of a training; there is one after every epoch, too"
    )
    stall_minutes: float = Field(
        15.0, gt=0, description="a training that gives no sign of life for so long is ended and runs again elsewhere"
    )
    deadline_minutes: float | None = Field(
        None,
        gt=0,
        description="time after which a training is ended in any case; null: ten times the longest with its recipe so "
        "far, scaled by FLOPs",
    )
    wait_minutes: float = Field(
        60.0, gt=0, description="time that a run waits for nodes when none, or too few for a gang, are there"
    )
    unreachable_minutes: float = Field(
        2.0, gt=0, description="a worker that does not answer for so long is ended and started anew"
    )
    max_failures_in_a_row: int = Field(5, ge=1, description="failed candidates in a row that stop the run")

    @property
    def num_ranks(self) -> int:
        """Processes that train together in each worker."""
        return self.ranks_per_worker or max(1, self.gpus_per_worker)

    @property
    def devices_per_worker(self) -> int:
        """What each worker has of what hours are counted of: GPUs, or where it has none CPUs."""
        return self.gpus_per_worker or self.cpus_per_worker

    @property
    def num_loaders(self) -> int:
        """Threads that read ahead for each of them."""
        if self.loaders_per_rank is not None:
            return self.loaders_per_rank
        return max(0, self.cpus_per_worker // self.num_ranks - 1)

    @property
    def needs(self) -> str:
        """What a worker's node must have, in words."""
        parts = [f"{self.cpus_per_worker} free CPUs"]
        if self.gpus_per_worker:
            parts.insert(0, f"{self.gpus_per_worker} free GPUs")
        parts += [f"label {key}={value}" for key, value in self.label_selector.items()]
        return ", ".join(parts)

    @model_validator(mode="after")
    def _one_rank_per_gpu(self) -> Self:
        if self.gpus_per_worker and self.ranks_per_worker not in (None, self.gpus_per_worker):
            raise ValueError(
                f"ranks_per_worker: {self.ranks_per_worker} processes can't have {self.gpus_per_worker} GPUs, one "
                "each; leave it out"
            )
        return self


class RunConfig(Settings):
    """One search, or one network's training, evaluation or pretraining."""

    algorithm: AlgorithmName = Field(
        "spnas", description="the search algorithm; spnas train, evaluate, pretrain, trials put their own name here"
    )
    seed: int = Field(0, ge=0, description="one seed, one history")
    objective: Objective = Field(default_factory=Objective, description="what is optimised")
    start: StartConfig = Field(description="the network that the run starts from, and its weights")
    serial: SerialSettings = Field(default_factory=SerialSettings, description="the serial level")
    parallel: ParallelConfig | None = Field(
        default_factory=ParallelConfig, description="the parallel level; null leaves it out"
    )
    evolution: EvolutionSettings = Field(
        default_factory=EvolutionSettings, description="the samples of msnas and random"
    )
    supernet: RecipeConfig = Field(
        default_factory=RecipeConfig, description="keys of training that differ for the super-net of msnas and random"
    )
    sample: RecipeConfig = Field(
        default_factory=RecipeConfig, description="keys of training that differ for its samples, which are fine-tuned"
    )
    trials: tuple[TrialSettings, ...] = Field(
        (), max_length=10_000, description="the networks that spnas trials trains"
    )
    budget: BudgetConfig = Field(default_factory=BudgetConfig, description="when to end early")
    detector: DetectorSettings = Field(default_factory=DetectorSettings, description="the detector")
    data: DetectionDataSettings = Field(description="the images with boxes to train and evaluate on, by their format")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="the fast scheme")
    reignition: ReignitionSettings | None = Field(None, description="how a backbone is pretrained")
    final: FinalConfig | None = Field(None, description="full training of the winner; null leaves it out")
    keep_weights: Literal["needed", "all"] = Field(
        "needed", description="needed: the best's and those that the run may still need; all: every detector's, too"
    )
    fleet: FleetConfig = Field(default_factory=FleetConfig, description="the workers")
    recorders: RecordersConfig = Field(
        default_factory=RecordersConfig, description="where the run is recorded beside its own folder"
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self._check_family()
        given = self.start.given
        if self.algorithm == "trials":
            has_parent = given is not None and given.kind == "detector"
            check_trials(self.search, has_parent=has_parent, can_pretrain=self.reignition is not None)
        if self.reignition is None and self.pretrains:
            if self.algorithm == "pretrain":
                raise _at("reignition", "missing, but it says how spnas pretrain trains; give reignition.data")
            key = "start.weights is pretrain" if self.start.weights == "pretrain" else "serial.reignite is true"
            raise _at("reignition", f"missing, but {key}; give reignition.data, or set that otherwise")
        if self.algorithm == "train" and self.final is None:
            raise _at("final", "missing, but it says how spnas train trains; give it, such as final.epochs=24")
        if self.algorithm == "evaluate" and (given is None or given.kind != "detector"):
            raise _at("start.given", "no detector's weights; `spnas evaluate RUN_OR_FILE` puts them there")
        for name in ("supernet", "sample", "final"):  # whether or not the algorithm has a use for it
            self.recipe(name)
        for name in self.recipe_names():
            recipe = self.recipe(name)
            if self.algorithm == "evaluate":
                continue  # what follows is about training
            if recipe.batch_size == 1 and recipe.normalization in ("batch", "sync"):
                raise _at(
                    "training.normalization",
                    f"{recipe.normalization!r} does not work with the {name} recipe's batch_size 1; "
                    "use frozen or group, or a larger batch_size",
                )
            num_nodes = self.num_nodes(name)
            key = recipe_key(name)
            if num_nodes > self.fleet.num_workers:
                raise _at(f"{key}.num_nodes", f"{num_nodes} is more than fleet.num_workers, {self.fleet.num_workers}")
            if recipe.batch_size % (num_ranks := num_nodes * self.fleet.num_ranks):
                raise _at(
                    f"{key}.batch_size",
                    f"{recipe.batch_size} can't be shared evenly by {num_ranks} ranks; use a multiple of that",
                )
            if num_ranks > 1 and recipe.normalization == "batch":
                raise _at(
                    "training.normalization",
                    f"'batch' would give each of the {name} recipe's {num_ranks} ranks statistics of its own; use "
                    "sync, frozen or group",
                )
        kinds = {name: self.recipe(name).normalization for name in self.recipe_names()}
        if "group" in kinds.values() and set(kinds.values()) != {"group"}:
            found = ", ".join(f"{name} has {kind}" for name, kind in kinds.items())
            raise _at("training.normalization", f"group goes with no other kind, as weights are handed on, but {found}")
        self._check_given(set(kinds.values()))
        if "group" in kinds.values() and (self.start.weights or "").startswith("torchvision:"):
            raise _at("training.normalization", "group does not fit torchvision's weights; use batch, sync or frozen")
        if self.detector.mask and not self.data.has_masks:
            raise _at(
                "detector.mask",
                f"true, but the data ({self.data.format}) have no masks; COCO's have, with data.masks: true",
            )
        metric, family, masks = self.objective.metric, self.data.family, self.detector.mask
        if not is_metric(metric, family, masks=masks):
            known = ", ".join(names_of(family, masks=masks))
            raise _at("objective.metric", f"{brief(metric)} is none of {known}, which {self.data.format} data have")
        if self.objective.mode != (fitting := "min" if is_loss(metric) else "max"):
            raise _at("objective.mode", f"{self.objective.mode!r} is not what {metric} is good for; use {fitting}")
        if self.algorithm == "spnas":
            self._check_start()
        elif isinstance(self.start.spec, MultiScaleSpec):
            if self.algorithm in SUPER_NET_ALGORITHMS:
                self._check_samples()
        elif "data" in self.data_keys and self.start.spec.architecture.num_stages > self.serial.max_stages:
            raise _at(
                "start.architecture",
                f"{self.start.architecture} has {self.start.spec.architecture.num_stages} stages; the pyramid is "
                f"built for serial.max_stages, {self.serial.max_stages}; set that to as many",
            )
        return self

    def _check_given(self, normalizations: set[Normalization]) -> None:
        """See that weights that are given fit, as far as can be seen from the config."""
        given = self.start.given
        if given is None:
            return
        if given.normalization is not None:
            for kind in normalizations:
                if (kind == "group") != (given.normalization == "group"):
                    raise _at(
                        "training.normalization",
                        f"{kind!r} does not fit the weights of {brief(given.source)}, which have "
                        + (
                            "group's; use group" if kind != "group" else "running statistics; use batch, sync or frozen"
                        ),
                    )
        if self.algorithm == "evaluate" and (others := self.built_otherwise()):
            raise ValueError(
                "; ".join(
                    f"{key}: the weights have {brief(theirs)}, the config {brief(ours)}"
                    for key, (theirs, ours) in others.items()
                )
            )

    def built_otherwise(self) -> dict[str, tuple[Any, Any]]:
        """Keys in which the weights that are given differ from this config: their value, and its own."""
        values = self.model_dump(mode="json")
        given = values["start"]["given"]
        own = dict(flat(values))
        theirs: dict[str, Any] = {} if given is None else given["built_with"] or {}
        return {key: (value, own.get(key)) for key, value in theirs.items() if own.get(key) != value}

    def _check_family(self) -> None:
        """See that the algorithm can do with the start network and its weights."""
        start, searches_paths = self.start, self.algorithm in SUPER_NET_ALGORITHMS
        if searches_paths and not is_multi_scale(start.architecture):
            raise _at(
                "start.architecture",
                f"{start.architecture} is no network of a super-net; {self.algorithm} asks for one such as msnas-r18-5",
            )
        if is_multi_scale(start.architecture) and self.algorithm in ("spnas", "pretrain", "trials"):
            raise _at(
                "start.architecture",
                f"{start.architecture} is a multi-scale network; {self.algorithm} asks for one such as resnet50",
            )
        if is_multi_scale(start.architecture) and start.weights is not None:
            raise _at("start.weights", f"{brief(start.weights)} do not fit multi-scale networks; leave it out")
        if searches_paths and start.given is not None:
            raise _at("start.given", f"{self.algorithm} trains its super-net from scratch; begin without --from")

    def _check_samples(self) -> None:
        """See that a super-net has paths that may be sampled."""
        coarsest = FEATURE_STRIDES[-1]
        if (size := self.evolution.image_size) is not None and any(side <= 0 or side % coarsest for side in size):
            raise _at("evolution.image_size", f"{list(size)} are not two positive multiples of {coarsest}")
        try:
            space_of(self.search)
        except ValueError as error:
            raise _at("evolution.utilization", f"{self.start.architecture}: {error}") from None
        try:
            check_window(self.search)
        except ValueError as error:
            raise _at("evolution.target_gflops", str(error)) from None

    def _check_start(self) -> None:
        """See that a search's start network lies within its limits."""
        architecture = self.search.start_network.architecture
        if any(architecture.subnets):
            raise _at("start.architecture", f"{architecture} has subnets; a search starts from a serial network")
        for count, least, most in (
            (architecture.num_blocks, "min_blocks", "max_blocks"),
            (architecture.num_stages, "min_stages", "max_stages"),
        ):
            lowest, highest = getattr(self.serial, least), getattr(self.serial, most)
            if not lowest <= count <= highest:
                raise _at(
                    "start.architecture",
                    f"{architecture} has {count} {least[4:]}; serial.{least} and serial.{most} ask for "
                    f"{lowest} to {highest}",
                )
        if not self.serial.inherit and (origin := self.start.weights or (self.start.given and self.start.given.source)):
            raise _at("serial.inherit", f"false, but the start has the weights of {brief(origin)}; leave them out")
        for key, limits in (("serial", self.serial), ("parallel", self.parallel)):
            start = self.search.start_network
            if isinstance(limits, Limits) and not limits.allow(architecture, start, self.image_size):
                costs = backbone_costs(start, *self.image_size)
                set_limits = limits.model_dump(include={"max_gflops", "max_parameters"}, exclude_none=True)
                raise _at(
                    "start.architecture",
                    f"{architecture} has {costs.macs / 1e9:.4g} GFLOPs and {costs.parameters} parameters, more than "
                    + " or ".join(f"{key}.{name} {value}" for name, value in set_limits.items()),
                )

    def recipe(self, name: str) -> TrainingSettings:
        """The training settings of a job's recipe."""
        if name == "reignition":
            assert self.reignition is not None
            return self.reignition.training_with(self.training.normalization)
        owners = {
            "start": self.start,
            "parallel": self.parallel,
            "supernet": self.supernet,
            "sample": self.sample,
            "final": self.final,
        }
        owner = owners.get(name)
        changes = owner.training if owner is not None else {}
        try:
            return self.training.merged(changes)
        except ValidationError as error:
            prefix = name if isinstance(owner, RecipeConfig) else f"{name}.training"
            raise ValueError("; ".join(mistakes(error, changes, TrainingSettings, prefix))) from None

    def num_nodes(self, recipe: str) -> int:
        """How many workers train a job of a recipe together."""
        asked: int | str = 1
        if recipe == "reignition" and self.reignition is not None:
            asked = self.reignition.num_nodes
        else:
            owner = {"supernet": self.supernet, "sample": self.sample, "final": self.final}.get(recipe)
            asked = 1 if owner is None else owner.num_nodes
        return self.fleet.num_workers if asked == "all" else int(asked)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images that costs are counted for."""
        if isinstance(self.data, AnnotatedData):
            return self.data.short_side, self.data.long_side
        return self.data.image_size, self.data.image_size

    @property
    def search(self) -> SearchSettings:
        """What the algorithm knows."""
        return SearchSettings(
            seed=self.seed,
            objective=self.objective,
            start=self.start.spec,
            pretrain_start=self.start.weights == "pretrain",
            serial=self.serial,
            parallel=self.parallel,
            evolution=self.evolution,
            trials=self.trials,
            detector=DetectorShape(**self.detector.model_dump()),
            train_full=self.final is not None,
            image_size=self.image_size,
            max_failures_in_a_row=self.fleet.max_failures_in_a_row,
        )

    def to_yaml(self) -> str:
        """The resolved config, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def build_algorithm(self) -> Algorithm:
        """What decides the run's jobs."""
        return build_algorithm(self.algorithm, self.search)

    @property
    def pretrains(self) -> bool:
        """Whether any job pretrains a backbone."""
        return "reignition" in self.recipe_names()

    def recipe_names(self) -> tuple[str, ...]:
        """The recipes that the jobs use."""
        return self.build_algorithm().recipes

    @property
    def data_keys(self) -> tuple[str, ...]:
        """The keys of the data sets that the jobs read."""
        detects = self.recipe_names() != ("reignition",)
        return ("data",) * detects + ("reignition.data",) * self.pretrains


def _stem_of(name: str) -> str:
    """The stem that belongs to an encoding or a name, the plain one for what is neither."""
    try:
        return read_spec(name).stem
    except ValueError:
        return DEFAULT_STEM


def recipe_key(name: str) -> str:
    """The key below which a recipe's own keys stand."""
    return {"serial": "training", "start": "start.training", "parallel": "parallel.training"}.get(name, name)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by their ``key.path``."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _at(key: str, reason: str) -> ValueError:
    """An error of the config as a whole, which pydantic reports like one of a single key."""
    return ValueError(f"{key}: {reason}")
