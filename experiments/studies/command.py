"""``spnas study``: the runs of studies are brought to their ends, and what they came to is written.

Invariant: whatever interrupts it, the same command goes on; a run that has ended is never begun again.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from experiments.studies.catalogue import STUDIES
from experiments.studies.pages import write_pages
from experiments.studies.records import provenance, write_record
from experiments.studies.side_by_side import Place, carry_out_all
from experiments.studies.study import CONFIGS, Finished, Run, Study
from models.wording import brief
from orchestrator.environment import check_environment
from orchestrator.errors import UserError


def chosen(names: Sequence[str]) -> list[Study]:
    """The studies of these names, each once; ``all`` is every one.

    Raises:
        UserError: for a name of none.
    """
    if unknown := [name for name in names if name not in STUDIES and name != "all"]:
        raise UserError(f"study {unknown[0]!r}: there is none of that name; there are {', '.join(STUDIES)}, and all")
    return [study for name, study in STUDIES.items() if name in names or "all" in names]


def bring_to_their_ends(place: Place, studies: Sequence[Study], seeds: Sequence[int]) -> dict[str, Finished]:
    """Carry out what studies need, runs that start from others after these.

    Returns:
        Every run they have asked for, by its name.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
        RunStopped: if a run can't go on by itself.
        UserError: for what the user got wrong.
    """
    finished: dict[str, Finished] = {}
    while missing := _missing(place, studies, seeds, finished):
        print(f"{len(finished)} runs have ended, {len(missing)} can go on by now", flush=True)
        for run in missing:
            check_environment(place.config(run))
        carry_out_all(place, missing, lambda line: print(f"  {line}", flush=True))
    return finished


def _missing(place: Place, studies: Sequence[Study], seeds: Sequence[int], finished: dict[str, Finished]) -> list[Run]:
    """The runs that can begin or go on by now; what has ended is put among the finished."""
    asked: dict[str, Run] = {}
    for study in studies:
        while new := [run for run in study.runs(seeds, finished) if run.name not in finished and run.name not in asked]:
            for run in new:
                ended = place.finished(run) if _has_origin(run, finished) else None
                if ended is not None:
                    finished[run.name] = ended
                elif asked.get(run.name, run) != run:
                    raise AssertionError(f"studies ask for different runs of the name {run.name}")
                else:
                    asked[run.name] = run
    return [run for run in asked.values() if _has_origin(run, finished)]


def _has_origin(run: Run, finished: Mapping[str, Finished]) -> bool:
    return run.origin is None or run.origin[0] in finished


def carry_out_studies(
    names: Sequence[str], seeds: Sequence[int], root: str, out: Path, configs: Sequence[str]
) -> list[str]:
    """Carry out studies, or go on with them, and write what came out.

    Args:
        names: of studies, or ``all``.
        seeds: of their searches.
        root: where their runs are.
        out: a folder for records, figures and pages.
        configs: ``DATA=FILE``, in place of the studies' own.

    Returns:
        Lines for who asked: the answers, and where they are.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
        RunStopped: if a run can't go on by itself.
        UserError: for what the user got wrong.
    """
    studies = chosen(names)
    place = Place(root, _by_data(configs))
    finished = bring_to_their_ends(place, studies, seeds)
    lines = []
    for study in studies:
        results = study.results(seeds, finished)
        runs = [finished[run.name] for run in study.runs(seeds, finished)]
        command = f"spnas study {study.name} --seeds {len(seeds)}" + (f" --first-seed {seeds[0]}" if seeds[0] else "")
        write_record(
            out / f"{study.name}.parquet", results, provenance(study.name, command, seeds, runs, datetime.now(UTC))
        )
        lines += [study.question, *(f"  {finding}" for finding in study.findings(results))]
    write_pages(out, STUDIES.values())
    return [*lines, f"{out}: records, figures and pages"]


def _by_data(configs: Sequence[str]) -> dict[str, Path]:
    """Config files by the data set that they stand for."""
    known = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    named = {}
    for text in configs:
        data, equals, path = text.partition("=")
        if not equals or data not in known:
            raise UserError(
                f"--config {brief(text)}: is not of the form DATA=FILE, DATA being one of {', '.join(known)}"
            )
        named[data] = Path(path)
    return named
