"""The launchers as a user runs them: in a process of their own, on a task made of the built-in corpus.

A study and a second run of it are whole processes, from Python's start on; the others are forked (`processes`).
"""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import tensorstore as ts
from helpers import tiny_encoder
from helpers.processes import ROOT, launch
from helpers.shared import SHARED

from jaxred.activations.files.conversion import to_store
from jaxred.config import TaskConfig
from jaxred.data import load_task
from jaxred.data.parallel import write_parallel
from jaxred.errors import UserError
from jaxred.models import pretrained

EXPECTED_KEYS = ["data_split", "baseline", "independent_layerwise", "incremental_layerwise", "selection"]


def whole_process(name, *flags):
    command = [sys.executable, str(ROOT / "launch" / f"{name}.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of 240 + 80 real sentences under MiniLM, in a path with a space."""
    try:
        pretrained.resolve("all-MiniLM-L6-v2")
    except UserError:
        pytest.skip("the packaged all-MiniLM-L6-v2 is not installed")
    folder = tmp_path_factory.mktemp("with space")
    splits = load_task(TaskConfig()).splits
    (folder / "task").mkdir()
    for split, n in (("train", 240), ("test", 80)):
        examples = splits[split]
        write_parallel(examples[:: len(examples) // n], folder / "task" / split)  # the corpus is sorted by class
    flags = ["--config=configs/parallel.py", f"--config.task.data_dir={folder / 'task'}", f"--workdir={folder / 'run'}"]
    return folder / "run", flags, whole_process("study", *flags)


@pytest.mark.minilm
def test_a_study_ends_with_a_table_and_says_where_everything_is(study):
    workdir, _, done = study
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert any("Oracle" in line and "2,688" in line for line in table)
    assert str(workdir / "report.html") in done.stdout
    for name in ("pipeline", "redundancy", "cluster_sweep", "all_results"):
        assert json.loads((workdir / "results" / f"{name}.json").read_text())


@pytest.mark.minilm
def test_the_report_is_one_file_that_shows_every_figure(study):
    workdir, _, _ = study
    html = (workdir / "report.html").read_text()
    figures = sorted(path.stem for path in (workdir / "figures").glob("*.png"))
    pipeline = ["kept_neurons", "layers", "minimal_neurons", "training"]
    assert figures == sorted(["cka", "cluster_sweep", "clusters", "layer_pairs", "windows", *pipeline])
    assert html.count("data:image/png;base64,") == len(figures)
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "accuracy of always saying" in html


@pytest.mark.minilm
def test_a_second_run_keeps_everything_and_is_quick(study):
    workdir, flags, first = study
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    begin = time.monotonic()
    again = whole_process("study", *flags)
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()} == before
    assert time.monotonic() - begin < 60


@pytest.mark.minilm
def test_another_configuration_is_refused_and_named(study):
    workdir, flags, _ = study
    before = (workdir / "results" / "pipeline.json").read_bytes()
    refused = launch("pipeline", *flags, "--config.probe.l1=0.1")
    assert refused.returncode == 2
    assert "probe.l1 was 1e-05 and is now 0.1" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (workdir / "results" / "pipeline.json").read_bytes() == before


@pytest.mark.minilm
def test_overwrite_replaces_results_and_keeps_fitting_activations(study, tmp_path):
    workdir, flags, _ = study
    shutil.copytree(workdir, tmp_path / "copy")
    shards = {p: p.stat().st_mtime_ns for p in (tmp_path / "copy" / "activations").rglob("*") if p.is_file()}
    flags = [flag for flag in flags if not flag.startswith("--workdir")]
    done = launch("pipeline", *flags, f"--workdir={tmp_path / 'copy'}", "--config.probe.epochs=1", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "copy" / "activations").rglob("*") if p.is_file()} == shards
    old = json.loads((workdir / "results" / "pipeline.json").read_text())
    assert json.loads((tmp_path / "copy" / "results" / "pipeline.json").read_text())["training"] != old["training"]


@pytest.mark.minilm
def test_results_of_other_data_do_not_stay_beside_new_ones(study, tmp_path):
    workdir, flags, _ = study
    shutil.copytree(workdir, tmp_path / "copy")
    shutil.copytree(workdir.parent / "task", tmp_path / "task")
    tags = (tmp_path / "task" / "test.label").read_text().splitlines()
    (tmp_path / "task" / "test.label").write_text("\n".join(reversed(tags)) + "\n")
    flags = [flags[0], flags[1], f"--workdir={tmp_path / 'copy'}"]
    shutil.rmtree(workdir.parent / "kept", ignore_errors=True)
    (workdir.parent / "task").rename(workdir.parent / "kept")
    (tmp_path / "task").rename(workdir.parent / "task")
    try:
        refused = launch("redundancy", *flags)
        done = launch("redundancy", *flags, "--overwrite")
    finally:
        shutil.rmtree(workdir.parent / "task")
        (workdir.parent / "kept").rename(workdir.parent / "task")
    assert refused.returncode == 2
    assert done.returncode == 0, done.stderr
    left = {file.stem for file in (tmp_path / "copy" / "results").glob("*.json")}
    assert left == {"redundancy", "layer_measures"}
    assert not (tmp_path / "copy" / "report.html").exists()


@pytest.mark.minilm
def test_redundancy_and_report_alone(study, tmp_path):
    workdir, flags, _ = study
    shutil.copytree(workdir / "activations", tmp_path / "copy" / "activations")
    flags = [flag for flag in flags if not flag.startswith("--workdir")]
    done = launch("redundancy", *flags, f"--workdir={tmp_path / 'copy'}")
    assert done.returncode == 0, done.stderr
    assert "| threshold | clusters |" in done.stdout
    report = launch("report", f"--workdir={tmp_path / 'copy'}", "--vector=eps")
    assert report.returncode == 2
    assert "choose pdf, svg or pdf,svg" in report.stderr
    assert not (tmp_path / "copy" / "report.html").exists()
    report = launch("report", f"--workdir={tmp_path / 'copy'}", "--vector=pdf")
    assert report.returncode == 0, report.stderr
    assert {f.with_suffix(".png") for f in (tmp_path / "copy" / "figures").glob("*.pdf")} == set(
        (tmp_path / "copy" / "figures").glob("*.png")
    )
    assert (tmp_path / "copy" / "report.html").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config.probe.l9=1"], ["config.probe has no field 'l9': it has l1, l2"]),
        (["--config.tsk.name=sst2"], ["config has no field 'tsk': did you mean task?"]),
        (["--config.task.limt_instances=9"], ["did you mean limit_instances?"]),
        (["--config.clustering.zzz=9"], ["has no field 'zzz': it has thresholds"]),
        (["--config.probe.l1=much"], ["l1", "much"]),
        (["--confg=configs/demo.py"], ["confg"]),
        (["--config=configs/none.py"], ["configs/none.py"]),
        (["demo"], ["demo"]),
        (["--config.clustering.thresholds=(1.5,)"], ["clustering.thresholds", "1.5", "[0, 1]"]),
        (["--config.repeats=0", "--workdir=WORKDIR"], ["config.repeats=0", "from 1 to 1000"]),
        (["--config.selection.search=late", "--workdir=WORKDIR"], ["selection.search", "'late'", "auto, full, early"]),
        (["--config.task.name=sst9", "--workdir=WORKDIR"], ["sst9", "sst2", "movie_reviews"]),
        (
            ["--config=configs/glue.py:rte", "--config.task.data_dir=nowhere", "--workdir=WORKDIR"],
            ["nowhere", "train.tsv"],
        ),
        ([], ["--workdir"]),
        (
            ["--config=configs/original.py"],
            ["needs an experiment file", '"train_activations": ', '"performance_deltas": '],
        ),
        (
            ["--config=configs/models.py"],
            ["needs the workdirs of two", "configs/models.py:runs/one,runs/other"],
        ),
        (
            ["--config=configs/tasks.py:,"],
            ["needs the workdirs of finished", "configs/tasks.py:runs/one,runs"],
        ),
        (
            ["--config=configs/stores.py", "--config.task.data_dir=mine", "--workdir=WORKDIR"],
            ["config.task.data_dir='mine' is for", "pass a folder of stores as --config.source.stores"],
        ),
        (["--config=configs/original.py:none.json"], ["experiment file none.json does not exist"]),
        (["--config=configs/sweeps/regularisation.py"], ["--workdir", "the sweep keeps its runs"]),
        (
            ["--config=configs/sweeps/regularisation.py", "--config.probe.l1=0.1", "--workdir=WORKDIR"],
            ["--config.probe.l1 cannot be given", "axis 'probe.l1'"],
        ),
        (
            ["--config=configs/sweeps/glue.py:rte,stsb", "--config.task.data_dir=nowhere", "--workdir=WORKDIR"],
            ["2 of 2 runs failed", "rte: config.task.data_dir='nowhere'", "stsb: config.task.data_dir='nowhere'"],
        ),
    ],
)
def test_wrong_flags_are_told_in_a_sentence(flags, words, tmp_path):
    done = launch("study", *(flag.replace("WORKDIR", str(tmp_path / "run")) for flag in flags))
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_help_is_no_error():
    done = launch("study", "--help")
    assert done.returncode == 0
    assert "--workdir" in done.stdout


WORDS = "w1 A\nw2 B\n\n" * 8
CONLLU = "1\tw1\t_\tA\t_\t_\t_\t_\t_\t_\n2\tw2\t_\tB\t_\t_\t_\t_\t_\t_\n\n" * 8


@pytest.mark.parametrize("stage", ["extract", "pipeline", "minimal_neurons"])
@pytest.mark.parametrize(
    ("task", "files", "words"),
    [
        ("columns", {"train.txt": WORDS + "w3\n", "test.txt": WORDS}, ["train.txt, line 25: 1 columns"]),
        (
            "conll2000_pos",
            {"train.txt": WORDS, "test.txt": WORDS},
            ["train.txt, line 1: 2 columns", "word, pos, chunk"],
        ),
        ("columns", {"train.txt": WORDS.encode("utf-16"), "test.txt": WORDS}, ["train.txt, line 1", "not valid UTF-8"]),
        ("columns", {"train.txt": WORDS, "test.txt": ""}, ["test.txt is empty"]),
        ("columns", {"train.txt": WORDS, "test.txt": "w1 C\n"}, ["test split has 1 label(s)", "'C'", "fallback_label"]),
        ("columns", {"train.txt": WORDS.replace("B", "A"), "test.txt": WORDS}, ["the same class, 'A'"]),
        ("columns", {"train.txt": WORDS}, ["has no file test.*"]),
        ("columns", None, ["--config.task.data_dir"]),
        ("ud_pos", {"train.conllu": CONLLU[:-1] + CONLLU, "test.conllu": CONLLU}, ["line 24: word 1 does not follow"]),
        (
            "parallel_words",
            {"train.word": "w1 w2\n", "train.label": "A B\nA\n", "test.word": "w1\n", "test.label": "A\n"},
            ["train.word has 1 lines", "train.label has 2"],
        ),
    ],
)
def test_faulty_files_of_words_are_told_in_a_sentence_and_leave_nothing(
    stage, task, files, words, encoder_folder, tmp_path
):
    flags = [f"--config=configs/labeling.py:{task}", f"--config.encoder.path={encoder_folder}"]
    for name, content in (files or {}).items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    flags += [] if files is None else [f"--config.task.data_dir={tmp_path}"]
    done = launch(stage, *flags, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["config.json"]


def test_a_report_without_results_is_refused(tmp_path):
    done = launch("report", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert "holds no results" in done.stderr


def test_launchers_are_short():
    for path in (ROOT / "launch").glob("*.py"):
        assert len(path.read_text().splitlines()) < 70, path


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_tiny_bert_goes_through_the_whole_line(kind, encoder_folder, tmp_path):
    texts = tiny_encoder.sentences(120)
    splits = {"train": texts[:80], "dev": texts[80:100], "test": texts[100:]}
    scores = {split: [len(text) / 10 for text in mine] for split, mine in splits.items()}
    tiny_encoder.write_task(tmp_path / "task", splits, scores if kind == "regression" else None)
    done = launch(
        "study",
        f"--config=configs/parallel.py:{kind}",
        f"--config.task.data_dir={tmp_path / 'task'}",
        f"--config.encoder.path={encoder_folder}",
        "--config.extraction.max_length=16",
        "--config.extraction.pooling=mean",
        f"--workdir={tmp_path / 'run'}",
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results" / "pipeline.json").read_text())
    assert results["task"]["rows"] == {"train": 80, "dev": 20, "test": 20}
    assert "data_split" not in json.loads((tmp_path / "run" / "results" / "all_results.json").read_text())
    html = (tmp_path / "run" / "report.html").read_text()
    if kind == "regression":
        assert "mean score" in html
        assert "Majority" not in done.stdout


def tiny_flags(encoder_folder, folder):
    texts = tiny_encoder.sentences(90)
    tiny_encoder.write_task(folder / "task", {"train": texts[:50], "dev": texts[50:70], "test": texts[70:]})
    return [
        "--config=configs/parallel.py",
        f"--config.task.data_dir={folder / 'task'}",
        f"--config.encoder.path={encoder_folder}",
        "--config.extraction.max_length=16",
        "--config.probe.epochs=2",
        f"--workdir={folder / 'run'}",
    ]


def test_a_small_model_is_exported_and_labels_a_file(encoder_folder, tmp_path):
    flags = tiny_flags(encoder_folder, tmp_path)
    done = launch("pipeline", *flags, "--config.selection.fractions=(0.1,0.5)")
    assert done.returncode == 0, done.stderr
    small, workdir = tmp_path / "small", f"--workdir={tmp_path / 'run'}"
    done = launch("export", workdir, f"--output={small}", "--set=oracle")
    assert done.returncode == 0, done.stderr
    assert "| texts per second |" in done.stdout
    assert "launch/predict.py --model=" in done.stdout
    reported = json.loads((small / "reduced.json").read_text())["card"]["scores"]["small"]["test"]
    rows = [(tmp_path / "task" / f"test.{kind}").read_text().splitlines() for kind in ("word", "label")]
    rows = list(zip(*rows, strict=True))
    (tmp_path / "in.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    given = [f"--model={small}", f"--input={tmp_path / 'in.csv'}", f"--output={tmp_path / 'out.csv'}"]
    done = launch("predict", *given, "--proba")
    assert done.returncode == 0, done.stderr
    assert f"accuracy: {reported:.4f}\n" in done.stdout
    written = (tmp_path / "out.csv").read_text().splitlines()
    assert written[0] == "text,label,p_even,p_odd"
    assert [line.split(",")[0] for line in written[1:]] == [text for text, _ in rows]
    for name, wrong, words in (
        ("export", [workdir, f"--output={small}", "--set=oracle", "--nomeasure"], "or pass --overwrite to replace it"),
        ("export", [workdir, f"--output={tmp_path / 'x'}", "--set=none"], "There is no set 'none'"),
        ("export", [workdir], "Pass --workdir=RUN"),
        ("predict", given, "or pass --overwrite to replace the file"),
        ("predict", [*given, "--overwrite", "--text_column=x"], "as --text_column"),
        ("predict", [f"--model={tmp_path}", *given[1:]], "is no reduced model"),
        ("predict", [], "--model is missing"),
    ):
        done = launch(name, *wrong)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "own", "lines"),
    [
        ("cluster_sweep", ["--config.clustering.sweep_thresholds=(0.2,0.6)"], ["none", "0.2", "0.6"]),
        (
            "minimal_neurons",
            ["--config.selection.fractions=(0.1,0.5)", "--config.repeats=2", "--config.selection.minimal_delta=5"],
            ["Best constant answer", "Oracle", "Minimal set (δ 5)"],
        ),
    ],
)
def test_a_study_alone_ends_with_its_table_is_kept_by_a_second_run_and_reported(
    name, own, lines, encoder_folder, tmp_path
):
    flags = [*tiny_flags(encoder_folder, tmp_path), *own]
    results = tmp_path / "run" / "results"
    done = launch(name, *flags)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].split(": no finding")[0].strip() for line in table[2:]] == lines
    assert done.stdout.endswith(f"Results: {results / f'{name}.json'}\n")
    assert sorted(path.stem for path in results.glob("*.json")) == sorted([f"all_results_{name}", name])
    assert (tmp_path / "run" / "probes" / name).is_dir()
    content = json.loads((results / f"{name}.json").read_text())
    assert content["task"]["rows"] == {"train": 50, "dev": 20, "test": 20}
    repeated = "--config.repeats=2" in own
    assert (" ± " in done.stdout) == ("of 2 repeats" in done.stdout) == ("repeats" in content) == repeated
    before = tiny_encoder.modified(tmp_path / "run")
    again = launch(name, *flags)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert f"{name.replace('_', ' ')}: kept" in again.stderr
    assert tiny_encoder.modified(tmp_path / "run") == before
    report = launch("report", f"--workdir={tmp_path / 'run'}")
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "run" / "report.html").read_text().count("data:image/png;base64,") == 1


# launch/redundancy.py


@pytest.fixture
def stores(tmp_path):
    """Stores of random activations in the folder `one`, with their text and in the same rows in `other`."""
    draw = np.random.default_rng(0)
    for name, hidden_size in (("one", 5), ("other", 7)):
        for split, n_rows in (("train", 60), ("test", 20)):
            (tmp_path / f"{split}.word").write_text("".join(f"sentence {i}\n" for i in range(n_rows)))
            values = draw.normal(size=(n_rows, 3, hidden_size)).astype(np.float32)
            labels = np.array(["no", "yes"] * (n_rows // 2))
            np.savez(tmp_path / "file.npz", hidden_states=values, labels=labels)
            to_store(tmp_path / "file.npz", tmp_path / name / split, tmp_path / f"{split}.word")
    return tmp_path


def redundancy_of(stores, name, *flags):
    config = ["--config=configs/stores.py", f"--config.source.stores={stores / name}"]
    return launch("redundancy", *config, f"--workdir={stores / f'run_{name}'}", *flags)


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_a_value_that_is_not_finite_is_refused_with_its_layer_and_row(bad, stores):
    array = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(stores / "one" / "train" / "hidden_states")}}
    ts.open(array).result()[41, 2, 3] = float(bad)
    refused = redundancy_of(stores, "one")
    assert refused.returncode == 2
    assert f"one/train holds {bad} at row 41, layer 2, neuron 3." in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (stores / "run_one" / "results").exists()
    assert not (stores / "run_one" / "moments").exists()


def test_two_runs_are_put_together_and_compared_by_their_workdirs(stores):
    done = redundancy_of(stores, "one", "--cluster_map")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"Figure:  {stores / 'run_one' / 'figures' / 'cluster_map.png'}\n")
    assert (stores / "run_one" / "figures" / "cluster_map.png").read_bytes().startswith(b"\x89PNG")
    lines = (stores / "run_one" / "results" / "redundancy_neurons.csv").read_text().splitlines()
    assert lines[0] == "neuron,layer,index,cluster_at_0.3"
    assert sorted(int(line.split(",")[0]) for line in lines[1:]) == list(range(15))
    assert redundancy_of(stores, "other").returncode == 0
    both = f"{stores / 'run_one'},{stores / 'run_other'}"
    done = launch("redundancy", f"--config=configs/models.py:{both}", f"--workdir={stores / 'models'}")
    assert done.returncode == 0, done.stderr
    assert "Linear CKA between the layers of run_one (down) and of run_other (across), over 54 rows" in done.stdout
    refused = launch("redundancy", f"--config=configs/tasks.py:{both}", f"--workdir={stores / 'tasks'}")
    assert refused.returncode == 2
    assert "several tasks are put together for one architecture" in refused.stderr
    refused = launch("redundancy", f"--config=configs/tasks.py:{both}", "--cluster_map", f"--workdir={stores / 't'}")
    assert refused.stderr.splitlines()[-1].startswith("error: --cluster_map is of one task")


@pytest.mark.shared
def test_the_originals_files_run_unchanged_where_its_script_is_replaced(tmp_path):
    """A regression, from the folder that its paths are relative to; the workdir is its output_directory."""
    archive = SHARED / "golden" / "original_runs" / "runs.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not there: set JAXRED_SHARED")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    content = json.loads((tmp_path / "sentences.json").read_text())
    changes = {"train_labels": "train.score", "test_labels": "test.score", "model_type": "regression"}
    changes |= {"metric": "pearson_and_spearman", "output_directory": "out", "performance_deltas": [[5, 2]]}
    (tmp_path / "exp.json").write_text(json.dumps({**content, **changes}))
    flags = [f"--config={ROOT / 'configs' / 'original.py'}:exp.json"]
    done = launch("pipeline", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| Oracle " in done.stdout
    results = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert list(results) == EXPECTED_KEYS
    assert results["baseline"]["test_scores"]["__OVERALL__"] > 0.5
    assert list(results["selection"]) == ["selection-5-2"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = launch("pipeline", *flags, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    report = launch("report", *flags, cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "imported; 900 sentences" in (tmp_path / "out" / "report.html").read_text()
    (tmp_path / "out" / "all_results.json").write_text("another's")
    refused = launch("pipeline", *flags, cwd=tmp_path)
    assert refused.returncode == 2
    assert "all_results.json is there and was not written by this workdir's pipeline" in refused.stderr
    assert (tmp_path / "out" / "all_results.json").read_text() == "another's"


def test_a_sweep_goes_through_a_launcher_with_overrides_and_one_table(encoder_folder, tmp_path):
    texts = tiny_encoder.sentences(60)
    tiny_encoder.write_task(tmp_path / "task", {"train": texts[:40], "test": texts[40:]})
    flags = [
        "--config=configs/sweeps/regularisation.py",
        "--config.task.name=parallel",
        f"--config.task.data_dir={tmp_path / 'task'}",
        f"--config.encoder.path={encoder_folder}",
        "--config.extraction.max_length=8",
        f"--workdir={tmp_path / 'sweep'}",
    ]
    done = launch("redundancy", *flags)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 20
    assert "redundant share" in table[0]
    assert "run 18 of 18: l1=0.001-l2=0.001-seed=43 (about " in done.stderr
    assert done.stderr.count("activations: kept") == 17 * 2
    assert (tmp_path / "sweep" / "sweep.md").read_text() in done.stdout
    saved = json.loads((tmp_path / "sweep" / "l1=0.001-l2=0-seed=42" / "config.json").read_text())
    assert (saved["probe"]["l1"], saved["task"]["name"]) == (1e-3, "parallel")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = launch("redundancy", *flags)
    assert again.stdout == done.stdout
    assert "min left" not in again.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


# launch/convert.py


@pytest.fixture
def word_files(tmp_path):
    """Activations of words as JSON lines, with text and labels, in a path with a space."""
    folder = tmp_path / "with space"
    folder.mkdir()
    layers = [{"index": 0, "values": [0.5, -1.25]}, {"index": 1, "values": [1e-06, 2.0]}]
    lines = [{"linex_index": i, "features": [{"token": token, "layers": layers} for token in "ab"]} for i in range(9)]
    (folder / "a.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "a.word").write_text("a b\n" * 9)
    (folder / "a.label").write_text("X Y\n" * 9)
    return folder


def test_activations_go_to_a_store_and_back_byte_for_byte(word_files):
    text, labels = f"--text={word_files / 'a.word'}", f"--labels={word_files / 'a.label'}"
    store, out = f"{word_files / 'store'}", word_files / "out" / "b.json"
    done = launch("convert", f"--input={word_files / 'a.json'}", text, labels, "--rows=word", f"--output={store}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Store: {store} (18 words, 2 x 2)\n"
    done = launch("convert", f"--input={store}", text, f"--output={out}", cwd=word_files)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == (word_files / "a.json").read_bytes()
    assert out.with_suffix(".label").read_text() == (word_files / "a.label").read_text()
    again = launch("convert", f"--input={store}", text, f"--output={out}")
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith(f"error: {out} exists and is kept")


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ([], "error: --output is missing"),
        (["--output=x"], "error: --input is missing"),
        (["--input=none.t7", "--output=x"], "error: none.t7 is a .t7 file, and reading one runs whatever is in it"),
        (["--inptu=a", "--output=x"], "Unknown command line flag 'inptu'"),
        (["a", "--output=x"], "error: Unknown argument 'a'"),
        (["--config=configs/sweeps/glue.py", "--output=x"], "error: --config names a sweep"),
    ],
)
def test_a_conversion_that_cannot_be_made_ends_in_a_sentence(flags, found):
    done = launch("convert", *flags)
    assert done.returncode == 2
    assert found in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tasks_examples_are_written_as_parallel_files(tmp_path):
    done = launch("convert", "--config=configs/demo.py", "--config.task.limit_instances=30", f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "train.word").read_text().splitlines()) == 30
    assert set((tmp_path / "test.label").read_text().splitlines()) == {"negative", "positive"}
