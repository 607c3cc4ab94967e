"""The studies, in the order in which they should be read."""

from experiments.studies.study import Study

STUDIES: dict[str, Study] = {}
