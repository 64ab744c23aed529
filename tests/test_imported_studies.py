"""Activations of any format, of sentences and of words, through the launchers from file to report."""

import numpy as np
import pytest
from helpers.processes import launch

from jaxred.activations.files.conversion import to_store
from jaxred.activations.files.exporting import to_file


@pytest.mark.parametrize(  # of each format with each kind of row, tests of its conversion ask
    ("suffix", "rows"), [(".npz", "sentence"), (".npy", "word"), (".hdf5", "sentence"), (".json", "word")]
)
def test_a_study_of_stores_ends_in_table_and_report_with_advice_that_can_be_followed(suffix, rows, tmp_path):
    draw, lengths = np.random.default_rng(0), {"train": 60, "test": 24}
    for split, n in lengths.items():
        words = 2 if rows == "word" else 1
        texts = [f"w{i} v{i % 7}" if words == 2 else f"sentence{i}" for i in range(n)]
        (tmp_path / f"{split}.word").write_text("".join(f"{text}\n" for text in texts))
        labels = [["a|b", "c"][draw.integers(2)] for _ in range(n * words)]
        lines = [" ".join(labels[i * words : (i + 1) * words]) for i in range(n)]
        (tmp_path / f"{split}.label").write_text("".join(f"{line}\n" for line in lines))
        np.save(tmp_path / f"{split}.npy", draw.normal(size=(n * words, 3, 4)).astype(np.float32))
        given = [f"--text={tmp_path / f'{split}.word'}", f"--labels={tmp_path / f'{split}.label'}", f"--rows={rows}"]
        if suffix != ".npy":
            text, label = (tmp_path / f"{split}.{end}" for end in ("word", "label"))
            made = to_store(tmp_path / f"{split}.npy", tmp_path / "made" / split, text, label, rows=rows)
            (tmp_path / "files").mkdir(exist_ok=True)
            to_file(made, tmp_path / "files" / f"{split}{suffix}", text)
            file = tmp_path / "files" / f"{split}{suffix}"
            given = [] if suffix == ".npz" else given
        else:
            file = tmp_path / f"{split}.npy"
        done = launch("convert", f"--input={file}", *given, f"--output={tmp_path / 'stores' / split}")
        assert done.returncode == 0, done.stderr
    done = launch(
        "study",
        "--config=configs/stores.py",
        f"--config.source.stores={tmp_path / 'stores'}",
        "--config.probe.epochs=2",
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    table = [line.replace(r"\|", "") for line in done.stdout.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    html = (tmp_path / "run" / "report.html").read_text()
    assert "Redundancy of imported activations on stores" in html
    assert "Encoder parameters:" not in html
    for text in (done.stdout, html):
        assert "tell little" in text  # labels are drawn at random
        assert not [
            word
            for word in ("pooling=", "fine-tuned", "MiniLM", "[CLS]")
            if word in text.split("config.json</summary>")[0]
        ]
