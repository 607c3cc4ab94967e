"""``spnas study``: the runs of studies are brought to their ends, and what they came to is written.

Invariant: whatever interrupts it, the same command goes on; a run that has ended is never begun again. One that does
not come to its end is told, and holds up nothing but what needs it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from experiments.studies.catalogue import STUDIES
from experiments.studying.pages import write_pages
from experiments.studying.records import provenance, write_record
from experiments.studying.side_by_side import Place, Tell, carry_out_all
from experiments.studying.study import CONFIGS, Finished, Run, Runs, Study
from models.wording import brief
from orchestrator.errors import RunStopped, UserError
from orchestrator.termination import advice


def chosen(names: Sequence[str]) -> list[Study]:
    """The studies of these names, each once; ``all`` is every one.

    Raises:
        UserError: for a name of none.
    """
    if unknown := [name for name in names if name not in STUDIES and name != "all"]:
        raise UserError(f"study {unknown[0]!r}: there is none of that name; there are {', '.join(STUDIES)}, and all")
    return [study for name, study in STUDIES.items() if name in names or "all" in names]


def carry_out_studies(
    names: Sequence[str], seeds: Sequence[int], root: str, out: Path, configs: Sequence[str], tell: Tell
) -> None:
    """Carry out studies, or go on with them, and write what came out of each as soon as its runs have ended.

    Args:
        names: of studies, or ``all``.
        seeds: of their searches.
        root: where their runs are.
        out: a folder for records, figures and pages.
        configs: ``DATA=FILE``, in place of the studies' own.
        tell: told in lines how they come on, and the answers.

    Raises:
        KeyboardInterrupt: at Ctrl-C and SIGTERM; what was under way has left checkpoints.
        RunStopped: if a run has not come to its end; all that need not wait for it have.
        UserError: for what the user got wrong.
    """
    open_studies = chosen(names)
    place = Place(root, _by_name(configs))
    finished: dict[str, Finished] = {}
    unfinished: dict[str, str] = {}
    if (note := advice()) is not None:
        tell(note)
    while open_studies:
        # Runs that start from others are asked for once these have ended.
        missing = _missing(place, open_studies, seeds, finished)
        _write_those_complete(open_studies, seeds, finished, out, configs, tell)
        assert missing or not open_studies, "a study waits for a run that nobody asks for"
        if not (runs := [run for run in missing if run.name not in unfinished]):
            break
        tell(f"{len(finished)} runs have ended, {len(runs)} can begin or go on")
        unfinished |= carry_out_all(place, runs, lambda line: tell(f"  {line}"))
    if open_studies:
        names = ", ".join(study.name for study in open_studies)
        tell(f"not written, as runs that are needed have not come to their ends: {names}")
        raise RunStopped("; ".join(f"{name}: {reason}" for name, reason in unfinished.items()))


def _write_those_complete(
    open_studies: list[Study], seeds: Sequence[int], finished: Runs, out: Path, configs: Sequence[str], tell: Tell
) -> None:
    """Write the studies all of whose runs have ended, and take them off the list."""
    for study in list(open_studies):
        if all(run.name in finished for run in study.runs(seeds, finished)):
            open_studies.remove(study)
            _write(study, seeds, finished, out, configs, tell)


def _write(study: Study, seeds: Sequence[int], finished: Runs, out: Path, configs: Sequence[str], tell: Tell) -> None:
    """Record a study whose runs have ended, and tell its answer."""
    runs = [finished[run.name] for run in study.runs(seeds, finished)]
    used = sorted({each.run.seed for each in runs})
    words = ["spnas study", study.name, f"--seeds {len(used)}", *([f"--first-seed {used[0]}"] if used[0] else [])]
    command = " ".join([*words, *(f"--config {text}" for text in configs)])
    results = study.results(seeds, finished)
    write_record(out / f"{study.name}.parquet", results, provenance(study.name, command, used, runs, datetime.now(UTC)))
    write_pages(out, STUDIES.values())
    tell(study.question)
    for finding in study.findings(results):
        tell(f"  {finding}")
    tell(f"  {out / study.name}.md, .svg and .parquet")


def _missing(place: Place, studies: Sequence[Study], seeds: Sequence[int], finished: dict[str, Finished]) -> list[Run]:
    """The runs that can begin or go on by now; what has ended is put among the finished."""
    asked: dict[str, Run] = {}
    for study in studies:
        is_new = True
        while is_new:  # what has ended may be what others start from
            is_new = False
            for run in study.runs(seeds, finished):
                known = finished[run.name].run if run.name in finished else asked.get(run.name)
                assert known in (None, run), f"studies ask for different runs of the name {run.name}"
                if known is None:
                    is_new = True
                    ended = place.finished(run) if _has_origin(run, finished) else None
                    if ended is None:
                        asked[run.name] = run
                    else:
                        finished[run.name] = ended
    return [run for run in asked.values() if _has_origin(run, finished)]


def _has_origin(run: Run, finished: Mapping[str, Finished]) -> bool:
    return run.origin is None or run.origin[0] in finished


def _by_name(configs: Sequence[str]) -> dict[str, Path]:
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
