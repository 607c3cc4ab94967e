"""What tests of storage share."""

from collections.abc import Callable
from typing import Any

from workers.storage import Log, Storage


def log_of(storage: Storage, *appends: bytes, name: str = "logs/1") -> Log:
    log = storage.open_log(name)
    for data in appends:
        log.append(data)
    return log


def raises(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail
