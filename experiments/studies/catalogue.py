"""The studies, in the order in which they should be read."""

from experiments.studies.acceptance import Acceptance
from experiments.studies.control import Control
from experiments.studies.efficiency import Efficiency
from experiments.studies.halving import Halving
from experiments.studies.in_flight import InFlight
from experiments.studies.luck import Luck
from experiments.studies.morphs import Morphs
from experiments.studies.phases import Phases
from experiments.studies.ranking import Ranking
from experiments.studies.trajectory import Trajectory
from experiments.studies.transfer import Transfer
from experiments.studying.study import Study

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Control(),
        Efficiency(),
        Phases(),
        Ranking(),
        Trajectory(),
        Transfer(),
        Morphs(),
        Luck(),
        InFlight(),
        Halving(),
        Acceptance(),
    )
}
