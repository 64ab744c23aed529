import tarfile
from pathlib import Path

import pytest
from helpers.shared import SHARED


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with glue/ and glue_subsets/ unpacked; skips where the archives are absent."""
    folder = tmp_path_factory.mktemp("real_data")
    for name in ("glue", "glue_subsets"):
        archive = SHARED / "data" / f"{name}.tar.xz"
        if not archive.exists():
            pytest.skip(f"{archive.name} is not there: set JAXRED_SHARED")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, [m for m in tar if m.isfile() and m.name.endswith(".tsv")], filter="data")
    return folder
