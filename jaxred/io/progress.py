"""Progress bars: live on a terminal, a line every few seconds in a log."""

import sys

from tqdm import tqdm


def progress_bar(total: int | None, title: str, unit: str, initial: int = 0) -> tqdm:
    """A bar with rate and, where the total is known, time left."""
    live = sys.stderr.isatty()
    interval = 0.2 if live else 10.0
    return tqdm(
        total=total,
        desc=title,
        unit=f" {unit}",
        initial=initial,
        mininterval=interval,
        maxinterval=interval,
        ascii=not live,
    )
