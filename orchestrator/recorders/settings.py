"""What a config says of recorders; needs none of their packages."""

from pydantic import Field

from orchestrator.search.settings import Settings


class TensorBoardConfig(Settings):
    """Event files for TensorBoard (`pip install 'spnas[tensorboard]'`)."""

    folder: str | None = Field(
        None, description="where they go; null: tensorboard in the run's folder, which an object store can't be"
    )


class MLflowConfig(Settings):
    """A run of MLflow (`pip install 'spnas[mlflow]'`)."""

    tracking_uri: str | None = Field(
        None, description="MLflow's server or store, such as http://host:5000; null: of MLFLOW_TRACKING_URI"
    )
    experiment: str = Field("spnas", min_length=1, description="the experiment that the run is entered in")


class RecordersConfig(Settings):
    """Where a run is recorded beside its own folder; each is off unless it is given, be it as {}."""

    tensorboard: TensorBoardConfig | None = Field(None, description="event files for TensorBoard; null: none")
    mlflow: MLflowConfig | None = Field(None, description="a run of MLflow; null: none")
