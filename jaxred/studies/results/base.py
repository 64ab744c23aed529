"""What all results have in common."""

from typing import Any, ClassVar, TypeVar

from jaxred.io import records

Neuron = tuple[int, int]  # layer, and index in that layer
R = TypeVar("R", bound="Result")


class Result:
    """What all results have in common."""

    name: ClassVar[str]  # of the result file

    def to_json(self) -> dict[str, Any]:
        """What the result file holds."""
        return records.to_json(self)

    @classmethod
    def from_json(cls: type[R], content: dict[str, Any]) -> R:
        """The result that `to_json` gave.

        Raises:
            ValueError: a field is missing or of another type.
        """
        return records.from_json(cls, content)

    def rows(self) -> list[dict[str, Any]]:
        """The result as a table: one dictionary per row, by column."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """The result as a pandas DataFrame; needs the `frames` extra.

        Raises:
            UserError: pandas is not installed.
        """
        return frame(self.rows())


def frame(rows: list[dict[str, Any]]) -> Any:
    """Rows as a pandas DataFrame.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        import pandas as pd  # here, because it is optional and takes half a second
    except ImportError:
        from jaxred.errors import UserError

        raise UserError("Frames need pandas, which is not installed: pip install 'jaxred[frames]'.") from None
    return pd.DataFrame(rows)
