"""Work done in another thread, whose outcome is given away."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """An outcome that is taken once: who takes it alone has it then, so that its memory is free when it is let go."""

    def __init__(self, pool: Executor, work: Callable[[], T]):
        self._future: Future[T] | None = pool.submit(work)

    def take(self) -> T:
        """Waits for the outcome and gives it away."""
        future, self._future = self._future, None
        assert future is not None, "it was taken before"
        return future.result()
