"""What a user writes about data, detectors and training, checked by pydantic.

Invariant: values are frozen, numbers are finite, an unknown key is refused, and every default of a worker
stands here or, for a detector, in `models.detector_shape`, and nowhere else. Upper bounds are far beyond what
anybody wants; they are there so that a slip of the pen does not fill a machine's memory or days.

This module imports neither torch nor numpy, so that a config is checked at once.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.architecture import Normalization
from models.detector_shape import IMAGENET_MEAN, IMAGENET_STD, MAX_SIDE, DetectorShape
from workers.metric_names import MetricFamily

NumNodes = Annotated[int, Field(ge=1, le=10_000)] | Literal["all"]
Name = Annotated[str, Field(min_length=1)]
Mean = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[float, Field(ge=0.1, le=10)]

MAX_IMAGES = 10_000_000
SHAPE_EXTENT = 2.26
"""An object's largest side over its radius, in `ShapesData`: that of a square turned by 25 degrees."""

_SHAPE = DetectorShape()
_CHECK_IMAGES = (
    "Look at the first and last bytes of every image at the start, so that broken ones are counted and left out; else "
    "the first that is trained on ends the training."
)


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Schedule(Settings):
    epochs: int | None = Field(
        default=3, ge=1, le=100_000, description="Passes over the training images; null where iterations are given."
    )
    iterations: int | None = Field(
        default=None, ge=1, le=10**9, description="Batches to train on, given in place of epochs; null counts epochs."
    )
    batch_size: int = Field(default=16, ge=1, le=MAX_IMAGES, description="Global batch, in images.")
    lr_schedule: Literal["cosine", "step"] = Field(
        default="cosine",
        description="cosine falls from lr to final_lr; step is lr, times lr_drop_factor after each of lr_drops.",
    )
    lr: float = Field(default=0.02, gt=0, description="Highest learning rate, for a batch of `lr_batch_size`.")
    final_lr: float = Field(
        default=0.0001, ge=0, description="Last learning rate of the cosine, for a batch of `lr_batch_size`."
    )
    lr_drops: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(2 / 3, 11 / 12),
        max_length=100,
        description="Where the rate steps down, as shares of all epochs: by default after 16 and 22 of 24.",
    )
    lr_drop_factor: float = Field(default=0.1, gt=0, lt=1, description="What the rate is multiplied by there.")
    lr_batch_size: int | None = Field(
        default=16,
        ge=1,
        description="The batch that `lr` and `final_lr` are stated for: both are multiplied by the batch over "
        "lr_batch_size. null takes them as written.",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(default=0.0001, ge=0, description="Weight decay; normalisations and biases have none.")
    warmup_steps: int = Field(default=20, ge=0, description="Steps over which the rate rises linearly from 0.")
    clip_norm: float | None = Field(
        default=10.0, gt=0, description="The gradients' norm is clipped to this; null leaves it."
    )
    flip: bool = Field(default=True, description="Flip half of the training images from left to right.")

    @model_validator(mode="before")
    @classmethod
    def _give_up_default_epochs(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("iterations") is not None and "epochs" not in values:
            return {**values, "epochs": None}
        return values

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.epochs is not None and self.iterations is not None:
            raise ValueError(f"iterations: {self.iterations}, but epochs is {self.epochs}; give one of both")
        if self.epochs is None and self.iterations is None:
            raise ValueError("epochs: null, and so is iterations; give one of both")
        return self

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        if self.lr_schedule == "cosine" and self.final_lr > self.lr:
            raise ValueError(f"final_lr: {self.final_lr} is more than lr, {self.lr}; the rate only falls")
        if list(self.lr_drops) != sorted(set(self.lr_drops)):
            raise ValueError(f"lr_drops: {list(self.lr_drops)} do not rise; give the shares in order, each once")
        return self

    def num_steps(self, num_images: int) -> int:
        """How many batches so many training images make."""
        if self.iterations is not None:
            return self.iterations
        assert self.epochs is not None
        return self.epochs * (num_images // min(self.batch_size, num_images))

    def merged(self, changes: Mapping[str, Any]) -> Self:
        """These settings with some keys replaced, checked again; epochs replace iterations, and these epochs.

        Raises:
            pydantic.ValidationError: for an unknown key or a value out of bounds.
        """
        values = self.model_dump()
        for one, other in (("epochs", "iterations"), ("iterations", "epochs")):
            if changes.get(one) is not None:
                values[other] = None
        return type(self).model_validate({**values, **changes})


class TrainingSettings(_Schedule):
    """One training: SGD with a warm-up and a cosine, per step (SP-NAS, section 3.3), or steps (section 4.1)."""

    normalization: Normalization = Field(
        default="batch",
        description="batch, sync (over all ranks; batch where there is one), frozen (statistics and scales "
        "kept) or group. Detector batches of 1 want frozen or group.",
    )
    scales: tuple[Scale, Scale] | None = Field(
        default=None,
        description="Each training image of a detector is resized once more, by a factor drawn between these two: 0.8 "
        "and 1.2 for COCO in the paper. null leaves it.",
    )
    aspect_groups: int = Field(
        default=1,
        ge=1,
        le=64,
        description="A detector's batches hold images of like width over height, so that little of them is padding: 2 "
        "parts wide from tall ones, 4, 6 and so on part finer, 1 takes all together.",
    )
    evaluate_at: tuple[Annotated[int, Field(ge=0, le=10**9)], ...] = Field(
        default=(),
        max_length=100,
        description="A detector is evaluated after so many steps, too, 0 being before the first: a job's metrics get "
        "`step 40/AP`, `step 40/AP50`, `step 40/LAMR` where the data have it, and `step 40/loss`, over the images to "
        "evaluate on. The training goes on as if nothing had been.",
    )

    @model_validator(mode="after")
    def _check_scales(self) -> Self:
        if self.scales is not None and self.scales[0] > self.scales[1]:
            raise ValueError(f"scales: {self.scales[0]} is more than {self.scales[1]}; give the smaller one first")
        return self

    @field_validator("evaluate_at")
    @classmethod
    def _check_steps(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"{list(value)} do not rise; give the steps in order, each once")
        return value

    @field_validator("aspect_groups")
    @classmethod
    def _check_groups(cls, value: int) -> int:
        if value > 1 and value % 2:
            raise ValueError(f"{value} would not part wide from tall images; give 1 or an even number")
        return value


class DetectorSettings(Settings):
    """A Faster or Cascade R-CNN with FPN on torchvision's parts. Sizes are pixels of the resized image."""

    kind: Literal["faster_rcnn", "cascade_rcnn"] = Field(
        default="faster_rcnn", description="The type of detector: faster_rcnn, or cascade_rcnn (three box heads)."
    )
    mask: bool = Field(
        default=_SHAPE.mask,
        description="Predict masks beside boxes (Mask R-CNN, Cascade Mask R-CNN); the data must have some.",
    )
    pyramid_channels: int = Field(
        default=_SHAPE.pyramid_channels, ge=1, le=4096, description="Channels of every pyramid level."
    )
    anchor_size: int = Field(
        default=_SHAPE.anchor_size,
        ge=1,
        le=MAX_SIDE,
        description="Side of the anchors on the finest level; it doubles with each level.",
    )
    anchor_ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=_SHAPE.anchor_ratios, min_length=1, max_length=32, description="Height over width of the anchors."
    )
    head_channels: int = Field(
        default=_SHAPE.head_channels, ge=1, le=16384, description="Width of the box head's hidden linear layers."
    )
    head_convolutions: int = Field(
        default=_SHAPE.head_convolutions,
        ge=0,
        le=32,
        description="Normalised 3x3 convolutions of the box head, before one hidden layer; 0 is two hidden layers.",
    )
    head_convolution_channels: int = Field(
        default=_SHAPE.head_convolution_channels, ge=1, le=4096, description="Width of these convolutions."
    )
    roi_size: int = Field(
        default=_SHAPE.roi_size, ge=1, le=64, description="Side of the map RoIAlign gives the box head."
    )
    roi_sampling_ratio: int = Field(
        default=_SHAPE.roi_sampling_ratio, ge=1, le=32, description="Samples per side and bin of RoIAlign."
    )
    mask_channels: int = Field(
        default=_SHAPE.mask_channels, ge=1, le=4096, description="Width of the mask head's convolutions."
    )
    mask_roi_size: int = Field(
        default=_SHAPE.mask_roi_size,
        ge=1,
        le=128,
        description="Side of the map RoIAlign gives the mask head; masks are twice as large.",
    )
    canonical_scale: int = Field(
        default=_SHAPE.canonical_scale,
        ge=1,
        le=MAX_SIDE,
        description="Side of a box that is pooled from stride 16 (FPN, equation 1).",
    )
    rpn_pre_nms_train: int = Field(
        default=_SHAPE.rpn_pre_nms_train,
        ge=1,
        le=100_000,
        description="Proposals per level before NMS, in training.",
    )
    rpn_pre_nms_test: int = Field(
        default=_SHAPE.rpn_pre_nms_test,
        ge=1,
        le=100_000,
        description="Proposals per level before NMS, in evaluation.",
    )
    rpn_post_nms_train: int = Field(
        default=_SHAPE.rpn_post_nms_train,
        ge=1,
        le=100_000,
        description="Proposals per image after NMS, in training.",
    )
    rpn_post_nms_test: int = Field(
        default=_SHAPE.rpn_post_nms_test,
        ge=1,
        le=100_000,
        description="Proposals per image after NMS, in evaluation.",
    )
    rpn_batch: int = Field(
        default=_SHAPE.rpn_batch, ge=1, le=100_000, description="Anchors per image in the RPN's loss."
    )
    roi_batch: int = Field(
        default=_SHAPE.roi_batch, ge=1, le=100_000, description="Proposals per image in the box head's loss."
    )
    detections_per_image: int = Field(
        default=_SHAPE.detections_per_image, ge=1, le=100_000, description="Most detections kept per image."
    )
    score_threshold: float = Field(
        default=_SHAPE.score_threshold, ge=0, lt=1, description="Detections below are dropped."
    )
    nms_threshold: float = Field(
        default=_SHAPE.nms_threshold,
        gt=0,
        le=1,
        description="Of two detections of a class that overlap more, the lesser is dropped.",
    )


class CachedData(Settings):
    """A data set whose resized images may be kept."""

    family: ClassVar[MetricFamily] = "coco"
    """The metrics that detectors are judged by on these data."""

    cache_bytes: int = Field(
        default=2**30,
        ge=0,
        description="Resized images are kept in memory, as bytes, until this many are used; per worker, of "
        "which each rank has its share, by the data set's two splits together.",
    )
    cache_dir: Name | None = Field(
        default=None,
        description="A folder on a fast disk where resized images are kept, as bytes, for all later runs; several "
        "workers may share it. About 3 bytes for each pixel; the last GiB of the disk is left free. null keeps none.",
    )

    @property
    def has_masks(self) -> bool:
        """Whether objects have masks, as a detector with masks needs."""
        return False


class AnnotatedData(CachedData):
    """Images and boxes on disk, whatever the format."""

    root: Name = Field(description="The folder of the data; no file outside of it is named by it or its lists.")
    classes: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        description="Names of the classes in order; null takes all that the format or its files have. Boxes of classes "
        "that are not listed are left out and counted.",
    )
    short_side: int = Field(default=600, ge=16, le=MAX_SIDE, description="Images are resized to this shorter side ...")
    long_side: int = Field(
        default=1333, ge=16, le=MAX_SIDE, description="... or less, so that the longer one is at most this."
    )
    mean: tuple[Mean, Mean, Mean] = Field(
        default=IMAGENET_MEAN, description="Mean of each channel, pixels counted from 0 to 1."
    )
    std: tuple[Deviation, Deviation, Deviation] = Field(
        default=IMAGENET_STD, description="Standard deviation of each channel."
    )
    empty_images: Literal["drop", "keep"] = Field(
        default="drop",
        description="Whether images without a box, or with ignored ones alone, are left out of training and counted, "
        "or trained on. Evaluation takes all.",
    )
    invalid_boxes: Literal["drop", "refuse"] = Field(
        default="drop",
        description="What is done with boxes and images that are broken: drop leaves them out and counts them, refuse "
        "stops at the first.",
    )
    max_invalid_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="More than this share of broken boxes or images is refused anyway.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.long_side < self.short_side:
            raise ValueError(f"long_side: {self.long_side} is less than short_side, {self.short_side}")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: a name is listed twice in {', '.join(self.classes)}")
        return self


class VocData(AnnotatedData):
    """Boxes in Pascal VOC layout: `root`/{JPEGImages,Annotations,ImageSets/Main/SPLIT.txt}.

    A split ``train`` is read from `root` itself, ``VOC2007/trainval`` from the folder `root`/VOC2007.
    """

    family: ClassVar[MetricFamily] = "voc"

    format: Literal["voc"] = Field(description="The layout.")
    train: tuple[Name, ...] = Field(default=("train",), min_length=1, description="Splits to train on.")
    val: tuple[Name, ...] = Field(default=("val",), min_length=1, description="Splits to evaluate on.")


class CocoData(AnnotatedData):
    """Boxes in COCO layout: `root`/annotations/instances_SPLIT.json and the images in `root`/SPLIT."""

    format: Literal["coco"] = Field(description="The layout.")
    train: tuple[Name, ...] = Field(default=("train2017",), min_length=1, description="Splits to train on.")
    val: tuple[Name, ...] = Field(default=("val2017",), min_length=1, description="Splits to evaluate on.")
    annotations: Name = Field(
        default="annotations/instances_{split}.json",
        description="A split's annotations, below root; {split} is its name.",
    )
    images: Name = Field(default="{split}", description="The folder of a split's images, below root.")
    masks: bool = Field(default=False, description="Read segmentations, too, for a detector with masks.")
    check_images: bool = Field(default=True, description=_CHECK_IMAGES)
    short_side: int = Field(default=800, ge=16, le=MAX_SIDE, description="Images are resized to this shorter side ...")

    @property
    def has_masks(self) -> bool:
        """Whether segmentations are read."""
        return self.masks


class EcpData(AnnotatedData):
    """EuroCity Persons: `root`/{day,night}/{img,labels}/SPLIT/CITY/NAME.{png,json}."""

    family: ClassVar[MetricFamily] = "ecp"

    format: Literal["ecp"] = Field(description="The layout.")
    train: tuple[Name, ...] = Field(
        default=("day/train",), min_length=1, description="Splits to train on, each as TIME/SPLIT."
    )
    val: tuple[Name, ...] = Field(
        default=("day/val",), min_length=1, description="Splits to evaluate on, each as TIME/SPLIT."
    )
    rider_boxes: Literal["whole", "person"] = Field(
        default="whole",
        description="whole: a rider's box goes around what it rides, too, as the benchmark judges riders; person: "
        "around the person.",
    )
    check_images: bool = Field(default=True, description=_CHECK_IMAGES)
    short_side: int = Field(default=1024, ge=16, le=MAX_SIDE, description="Images are resized to this shorter side ...")
    long_side: int = Field(
        default=1920, ge=16, le=MAX_SIDE, description="... or less, so that the longer one is at most this."
    )


class BddData(AnnotatedData):
    """BDD100K's detection labels, of any release: `root`/labels/det_20/det_SPLIT.json, `root`/images/100k/SPLIT."""

    format: Literal["bdd"] = Field(description="The layout.")
    train: tuple[Name, ...] = Field(default=("train",), min_length=1, description="Splits to train on.")
    val: tuple[Name, ...] = Field(default=("val",), min_length=1, description="Splits to evaluate on.")
    labels: Name = Field(
        default="labels/det_20/det_{split}.json",
        description="A split's labels, below root: a file, or a folder of them; {split} is its name. Those of 2018 are "
        "labels/bdd100k_labels_images_{split}.json.",
    )
    images: Name = Field(default="images/100k/{split}", description="The folder of a split's images, below root.")
    check_images: bool = Field(default=True, description=_CHECK_IMAGES)
    short_side: int = Field(default=720, ge=16, le=MAX_SIDE, description="Images are resized to this shorter side ...")


class _Shapes(CachedData):
    seed: int = Field(default=0, ge=0, description="Seed of the pictures, apart from the search's.")
    num_train: int = Field(default=960, ge=1, le=MAX_IMAGES, description="Training images.")
    num_val: int = Field(default=400, ge=1, le=MAX_IMAGES, description="Images to evaluate on.")
    noise: float = Field(default=0.05, ge=0, le=0.5, description="Standard deviation of the pixels' noise, of 1.")
    hue_share: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Share of objects whose hue tells their class; the hue of the others is random.",
    )
    mean: tuple[Mean, Mean, Mean] = Field(
        default=(0.5, 0.5, 0.5), description="Mean of each channel, pixels counted from 0 to 1."
    )
    std: tuple[Deviation, Deviation, Deviation] = Field(
        default=(0.25, 0.25, 0.25), description="Standard deviation of each channel."
    )


class ShapesData(_Shapes):
    """Coloured shapes drawn on the fly: discs, squares, triangles and crosses on a grey, cluttered ground."""

    format: Literal["shapes"] = Field(description="The layout.")
    image_size: int = Field(default=96, ge=32, le=MAX_SIDE, description="Side of the images, in pixels.")
    min_radius: float = Field(default=6.0, ge=2, description="Smallest radius of an object, in pixels.")
    max_radius: float = Field(default=26.0, ge=2, description="Largest radius; radii are log-uniform.")
    max_objects: int = Field(default=5, ge=1, le=1000, description="Most objects in an image; there is at least one.")
    max_clutter: int = Field(default=2, ge=0, le=1000, description="Most grey lines drawn behind the objects.")
    max_occluders: int = Field(default=1, ge=0, le=1000, description="Most grey bars drawn over the objects.")

    @property
    def has_masks(self) -> bool:
        """They have."""
        return True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_radius < self.min_radius:
            raise ValueError(f"max_radius: {self.max_radius} is less than min_radius, {self.min_radius}")
        if SHAPE_EXTENT * self.max_radius > self.image_size - 1:
            raise ValueError(
                f"max_radius: objects of {self.max_radius} reach over {SHAPE_EXTENT * self.max_radius + 1:.1f} pixels, "
                f"more than image_size, {self.image_size}; use at most {(self.image_size - 1) / SHAPE_EXTENT:.4g}"
            )
        return self


class ShapesClassification(_Shapes):
    """One coloured shape per image, for pretraining a backbone."""

    format: Literal["shapes"] = Field(description="The layout.")
    image_size: int = Field(default=48, ge=20, le=MAX_SIDE, description="Side of the images, in pixels.")


class ImageFolderData(CachedData):
    """Images to classify: `root`/SPLIT/CLASS/*.jpg (or jpeg, png); classes are the sorted folder names."""

    format: Literal["imagefolder"] = Field(description="The layout.")
    root: Name = Field(description="The folder that holds the splits.")
    train: Name = Field(default="train", description="Split to train on.")
    val: Name = Field(default="val", description="Split to evaluate on.")
    check_images: bool = Field(default=True, description=_CHECK_IMAGES)
    max_invalid_share: float = Field(
        default=0.05, ge=0, le=1, description="More than this share of broken images is refused."
    )
    image_size: int = Field(
        default=224, ge=16, le=MAX_SIDE, description="Side of the square crop a network sees, in pixels."
    )
    mean: tuple[Mean, Mean, Mean] = Field(
        default=IMAGENET_MEAN, description="Mean of each channel, pixels counted from 0 to 1."
    )
    std: tuple[Deviation, Deviation, Deviation] = Field(
        default=IMAGENET_STD, description="Standard deviation of each channel."
    )


DetectionDataSettings = Annotated[VocData | CocoData | EcpData | BddData | ShapesData, Field(discriminator="format")]
ClassificationDataSettings = Annotated[ImageFolderData | ShapesClassification, Field(discriminator="format")]


class ReignitionSettings(_Schedule):
    """Pretraining a fresh backbone as a classifier (SP-NAS, section 3.1, reignition)."""

    data: ClassificationDataSettings = Field(description="What to classify.")
    epochs: int | None = Field(
        default=90, ge=1, le=100_000, description="Passes over the training images; null where iterations are given."
    )
    batch_size: int = Field(default=1024, ge=1, le=MAX_IMAGES, description="Global batch, in images.")
    lr: float = Field(default=0.4, gt=0, description="Highest learning rate, for a batch of `lr_batch_size`.")
    lr_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="The batch that `lr` and `final_lr` are stated for; null takes them as written.",
    )

    num_nodes: NumNodes = Field(default=1, description="Workers that train it together, or all.")
    normalization: Normalization | None = Field(
        default=None, description="As in training; null takes training's, which fits what the search hands on."
    )

    def training_with(self, normalization: Normalization) -> TrainingSettings:
        """The same settings without the data; where `normalization` is null, with this one."""
        values = self.model_dump(exclude={"data", "num_nodes"})
        return TrainingSettings(**values | {"normalization": self.normalization or normalization})
