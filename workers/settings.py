"""What a user writes about data, detectors and training, checked by pydantic.

Invariant: values are frozen, an unknown key is refused, and every default of a worker stands here and nowhere
    else.
This module imports neither torch nor numpy, so that a config is checked at once.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Normalization = Literal["batch", "sync", "frozen", "group"]
Name = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingSettings(Settings):
    """One training: SGD with a warm-up and a cosine, per step (SP-NAS, section 3.3)."""

    epochs: int = Field(default=3, ge=1, description="Passes over the training images.")
    batch_size: int = Field(default=16, ge=1, description="Global batch, in images.")
    lr: float = Field(default=0.02, gt=0, description="Highest learning rate, for a batch of `lr_batch_size`.")
    final_lr: float = Field(default=0.0001, ge=0, description="Last learning rate, for a batch of `lr_batch_size`.")
    lr_batch_size: int | None = Field(
        default=16,
        ge=1,
        description="The batch that `lr` and `final_lr` are stated for: both are multiplied by "
        "batch_size / lr_batch_size. null takes them as written.",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(default=0.0001, ge=0, description="Weight decay; normalisations and biases have none.")
    warmup_steps: int = Field(default=20, ge=0, description="Steps over which the rate rises linearly from 0.")
    clip_norm: float | None = Field(
        default=10.0, gt=0, description="The gradients' norm is clipped to this; null leaves it."
    )
    normalization: Normalization = Field(
        default="batch",
        description="batch, sync (over all ranks; batch where there is one), frozen (statistics and scales "
        "kept) or group. Detector batches of 1 want frozen or group.",
    )
    flip: bool = Field(default=True, description="Flip half of the training images from left to right.")

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr: {self.final_lr} is more than lr, {self.lr}; the rate only falls")
        return self

    def merged(self, changes: Mapping[str, Any]) -> Self:
        """These settings with some keys replaced, checked again.

        Raises:
            pydantic.ValidationError: for an unknown key or a value out of bounds.
        """
        return type(self).model_validate({**self.model_dump(), **changes})


class DetectorSettings(Settings):
    """A Faster R-CNN on torchvision's parts. Sizes are pixels of the resized image."""

    kind: Literal["faster_rcnn"] = Field(default="faster_rcnn", description="The type of detector.")
    pyramid_channels: int = Field(default=256, ge=1, description="Channels of every pyramid level.")
    anchor_size: int = Field(
        default=32, ge=1, description="Side of the anchors on the finest level; it doubles with each level."
    )
    anchor_ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.5, 1.0, 2.0), min_length=1, description="Height over width of the anchors."
    )
    head_channels: int = Field(default=1024, ge=1, description="Width of the box head's two hidden layers.")
    roi_size: int = Field(default=7, ge=1, description="Side of the map RoIAlign gives the box head.")
    roi_sampling_ratio: int = Field(default=2, ge=1, description="Samples per side and bin of RoIAlign.")
    canonical_scale: int = Field(
        default=224, ge=1, description="Side of a box that is pooled from stride 16 (FPN, equation 1)."
    )
    rpn_pre_nms_train: int = Field(default=2000, ge=1, description="Proposals per level before NMS, in training.")
    rpn_pre_nms_test: int = Field(default=1000, ge=1, description="Proposals per level before NMS, in evaluation.")
    rpn_post_nms_train: int = Field(default=2000, ge=1, description="Proposals per image after NMS, in training.")
    rpn_post_nms_test: int = Field(default=1000, ge=1, description="Proposals per image after NMS, in evaluation.")
    rpn_batch: int = Field(default=256, ge=1, description="Anchors per image in the RPN's loss.")
    roi_batch: int = Field(default=512, ge=1, description="Proposals per image in the box head's loss.")
    detections_per_image: int = Field(default=100, ge=1, description="Most detections kept per image.")
    score_threshold: float = Field(default=0.05, ge=0, lt=1, description="Detections below are dropped.")
    nms_threshold: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Of two detections of a class that overlap more, the lesser is dropped.",
    )


class _Cached(Settings):
    cache_bytes: int = Field(
        default=2**30,
        ge=0,
        description="Resized images are kept in memory, as bytes, until this many are used; per worker.",
    )


class VocData(_Cached):
    """Boxes in Pascal VOC layout: `root`/{JPEGImages,Annotations,ImageSets/Main/SPLIT.txt}.

    A split ``train`` is read from `root` itself, ``VOC2007/trainval`` from the folder `root`/VOC2007.
    """

    format: Literal["voc"] = Field(description="The layout.")
    root: Name = Field(description="The folder with JPEGImages, or with VOC2007, VOC2012 and so on.")
    train: tuple[Name, ...] = Field(default=("train",), min_length=1, description="Splits to train on.")
    val: tuple[Name, ...] = Field(default=("val",), min_length=1, description="Splits to evaluate on.")
    classes: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        description="Names of the classes in order; null takes the sorted names found in the annotations. "
        "Boxes of classes that are not listed are left out and counted.",
    )
    short_side: int = Field(default=600, ge=16, description="Images are resized to this shorter side ...")
    long_side: int = Field(default=1333, ge=16, description="... or less, so that the longer one is at most this.")
    mean: tuple[float, float, float] = Field(
        default=(0.485, 0.456, 0.406), description="Mean of each channel, pixels counted from 0 to 1."
    )
    std: tuple[float, float, float] = Field(
        default=(0.229, 0.224, 0.225), description="Standard deviation of each channel."
    )
    invalid_boxes: Literal["drop", "refuse"] = Field(
        default="drop",
        description="What is done with boxes of no area or outside their image, and with images that have "
        "no box: drop leaves them out and counts them, refuse stops at the first.",
    )
    max_invalid_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="More than this share of invalid boxes or images is refused anyway.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.long_side < self.short_side:
            raise ValueError(f"long_side: {self.long_side} is less than short_side, {self.short_side}")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes: a name is listed twice in {', '.join(self.classes)}")
        return self


class _Shapes(_Cached):
    seed: int = Field(default=0, ge=0, description="Seed of the pictures, apart from the search's.")
    num_train: int = Field(default=960, ge=1, description="Training images.")
    num_val: int = Field(default=400, ge=1, description="Images to evaluate on.")
    noise: float = Field(default=0.05, ge=0, le=0.5, description="Standard deviation of the pixels' noise, of 1.")
    hue_share: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Share of objects whose hue tells their class; the hue of the others is random.",
    )
    mean: tuple[float, float, float] = Field(
        default=(0.5, 0.5, 0.5), description="Mean of each channel, pixels counted from 0 to 1."
    )
    std: tuple[float, float, float] = Field(
        default=(0.25, 0.25, 0.25), description="Standard deviation of each channel."
    )


class ShapesData(_Shapes):
    """Coloured shapes drawn on the fly: discs, squares, triangles and crosses on a grey, cluttered ground."""

    format: Literal["shapes"] = Field(description="The layout.")
    image_size: int = Field(default=96, ge=32, description="Side of the images, in pixels.")
    min_radius: float = Field(default=6.0, ge=2, description="Smallest radius of an object, in pixels.")
    max_radius: float = Field(default=26.0, ge=2, description="Largest radius; radii are log-uniform.")
    max_objects: int = Field(default=5, ge=1, description="Most objects in an image; there is at least one.")
    max_clutter: int = Field(default=2, ge=0, description="Most grey lines drawn behind the objects.")
    max_occluders: int = Field(default=1, ge=0, description="Most grey bars drawn over the objects.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_radius < self.min_radius:
            raise ValueError(f"max_radius: {self.max_radius} is less than min_radius, {self.min_radius}")
        if 2 * self.max_radius > self.image_size:
            raise ValueError(f"max_radius: {self.max_radius} is more than half of image_size, {self.image_size}")
        return self


class ShapesClassification(_Shapes):
    """One coloured shape per image, for pretraining a backbone."""

    format: Literal["shapes"] = Field(description="The layout.")
    image_size: int = Field(default=48, ge=16, description="Side of the images, in pixels.")


class ImageFolderData(_Cached):
    """Images to classify: `root`/SPLIT/CLASS/*.jpg (or jpeg, png); classes are the sorted folder names."""

    format: Literal["imagefolder"] = Field(description="The layout.")
    root: Name = Field(description="The folder that holds the splits.")
    train: Name = Field(default="train", description="Split to train on.")
    val: Name = Field(default="val", description="Split to evaluate on.")
    image_size: int = Field(default=224, ge=16, description="Side of the square crop a network sees, in pixels.")
    mean: tuple[float, float, float] = Field(
        default=(0.485, 0.456, 0.406), description="Mean of each channel, pixels counted from 0 to 1."
    )
    std: tuple[float, float, float] = Field(
        default=(0.229, 0.224, 0.225), description="Standard deviation of each channel."
    )


DetectionDataSettings = Annotated[VocData | ShapesData, Field(discriminator="format")]
ClassificationDataSettings = Annotated[ImageFolderData | ShapesClassification, Field(discriminator="format")]


class ReignitionSettings(TrainingSettings):
    """Pretraining a fresh backbone as a classifier (SP-NAS, section 3.1, reignition)."""

    data: ClassificationDataSettings = Field(description="What to classify.")
    epochs: int = Field(default=90, ge=1, description="Passes over the training images.")
    batch_size: int = Field(default=1024, ge=1, description="Global batch, in images.")
    lr: float = Field(default=0.4, gt=0, description="Highest learning rate, for a batch of `lr_batch_size`.")
    lr_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="The batch that `lr` and `final_lr` are stated for; null takes them as written.",
    )

    @property
    def training(self) -> TrainingSettings:
        """The same settings without the data."""
        return TrainingSettings(**self.model_dump(exclude={"data"}))
