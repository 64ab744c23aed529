"""What a file of activations holds, found before its values are read."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Survey:
    """The shape of a file of activations: sentences of tokens, each with a vector at every layer."""

    n_layers: int
    hidden_size: int  # neurons of a layer
    tokens: list[int]  # how many tokens each sentence has
    sha256: str  # of the whole file
    keys: list[str]  # the dataset of each sentence; empty where sentences lie in line order
    n_duplicates: int = 0  # sentences whose text stands more than once, where a file is keyed by text
    offsets: list[int] = field(default_factory=list)  # where each sentence begins, and the end; only of lines
