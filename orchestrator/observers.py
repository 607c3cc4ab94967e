"""Several observers of one run, as one."""

from orchestrator.driver import Observer
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.search.protocol import Job
from workers.task import Progress


class Observers:
    """Tells each observer, in order."""

    def __init__(self, *observers: Observer) -> None:
        """Tell these."""
        self._observers = observers

    def opened(self, history: History, resumed: bool) -> None:
        """The run begins or goes on."""
        for observer in self._observers:
            observer.opened(history, resumed)

    def told(self, history: History, record: Record) -> None:
        """A job's outcome counts from now on."""
        for observer in self._observers:
            observer.told(history, record)

    def note(self, text: str) -> None:
        """Something an operator should know."""
        for observer in self._observers:
            observer.note(text)

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Workers work."""
        for observer in self._observers:
            observer.working(history, jobs, progress)
