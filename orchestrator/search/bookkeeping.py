"""What every search does alike with its state: jobs are entered, outcomes taken, failures in a row counted.

Invariant: jobs are entered in the order of their indices and taken in it, so `population` and `pending` part the
indices below `next_index` between them.
"""

from collections import Counter
from dataclasses import replace
from itertools import islice

from orchestrator.search.protocol import Job, Member, Outcome, SearchState, failure


def enter(state: SearchState, job: Job) -> None:
    """Put a decided job among the pending ones."""
    assert job.index == state.next_index, f"job {job.index} is not the next one, {state.next_index}"
    state.next_index += 1
    state.pending[job.index] = job


def take(state: SearchState, outcome: Outcome) -> Member:
    """Move the pending job with the lowest index to the population, with its outcome."""
    assert outcome.index == state.next_told, f"outcome {outcome.index} is not the next one to be told"
    job = state.pending.pop(outcome.index)
    # The trials table has the metrics; the search reads the score alone, and would hold all of them for good.
    member = Member(job, replace(outcome, metrics={}))
    state.population[job.index] = member
    return member


def count_failure(state: SearchState, member: Member) -> None:
    """Note whether a role's failures go on or come to an end with this job."""
    role = member.job.role
    failures = 0 if member.outcome.completed else state.failures_in_a_row.get(role, 0) + 1
    state.failures_in_a_row[role] = failures


def streak(state: SearchState, outcome: Outcome, most: int) -> str | None:
    """Why the pending job's failure is one too many of its role in a row, or None."""
    job = state.pending[outcome.index]
    in_a_row = state.failures_in_a_row.get(job.role, 0) + 1
    if in_a_row < most:
        return None
    reason, count = Counter([outcome.error, *_last_errors(state, job.role, in_a_row - 1)]).most_common(1)[0]
    what = failure(job, outcome)
    return f"{in_a_row} {job.role}s in a row failed, {count} of them with: {reason}; the last: {what}"


def _last_errors(state: SearchState, role: str, count: int) -> list[str]:
    """Why the last told jobs of a role failed, the newest first."""
    members = (state.population[index] for index in reversed(state.population))
    errors = (member.outcome.error for member in members if member.job.role == role)
    return list(islice(errors, count))
