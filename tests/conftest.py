import os
import tarfile
from pathlib import Path

import jax
import pytest
from helpers import tiny_encoder, word_pieces
from helpers.shared import SHARED

from jaxred.errors import UserError
from jaxred.models import load_encoder, pretrained
from jaxred.models.tokenization import Tokenizer

# Most of the suite's time was the compilation of programs that run once, on a few rows.
FAST_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)
COMPILATIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


def pytest_configure(config):
    """What is compiled is kept for all workers, for the processes that tests start, and for the next time that the
    suite runs. JAX knows a program by its text, its compiler's options and version, XLA_FLAGS and the devices.

    Programs are compiled fast and run slowly, in the processes that tests start too, unless XLA_FLAGS is set
    (empty: as users have it, what `make test-isa` does) or PyTorch is the rival.
    """
    if config.option.markexpr != "reference":
        os.environ.setdefault("XLA_FLAGS", FAST_COMPILATION)  # before JAX starts its devices, which read them
    if hasattr(config, "cache"):  # not with -p no:cacheprovider
        kept = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("compilations")))
        for name, value in zip(COMPILATIONS, (kept, 0.0), strict=True):
            jax.config.update(name, value)


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_module():
    """A module's compiled programs are dropped at its end: each takes a process several maps of memory, of which Linux
    gives 65,530, and what needs one more ends in a segmentation fault."""
    yield
    jax.clear_caches()


def pytest_collection_modifyitems(items):
    """Whole studies come first: at the end one worker would run them alone, or each would make what they share."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Each worker has tests that stand together, so that few fixtures are made twice; who is done takes of the rest."""
    if config.getvalue("dist") == "load":  # what -n stands for
        from xdist.scheduler import WorkStealingScheduling

        return WorkStealingScheduling(config, log)
    return None


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """A Hugging Face folder with a tiny random BERT and its vocabulary."""
    return tiny_encoder.write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def word_piece_folder(tmp_path_factory):
    """A Hugging Face folder with a made-up vocabulary, without weights."""
    return word_pieces.write(tmp_path_factory.mktemp("word_pieces"))


@pytest.fixture(scope="session")
def compilations():
    """JAX's options by which a process of a test takes the programs that the suite has compiled."""
    return {name: getattr(jax.config, name) for name in COMPILATIONS}


def unpack(name, folder, wanted=lambda member: True):
    """Files of one of the shared archives; skips where it is absent."""
    archive = SHARED / "data" / f"{name}.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not there: set JAXRED_SHARED")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, [member for member in tar if member.isfile() and wanted(member.name)], filter="data")
    return folder


@pytest.fixture(scope="session")
def minilm_folder():
    """The packaged all-MiniLM-L6-v2."""
    try:
        return pretrained.resolve("all-MiniLM-L6-v2")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def xlnet_tokenizer_folder(tmp_path_factory):
    """The configuration and the tokenizer of xlnet-base-cased, without weights."""
    folder = unpack("xlnet-base-cased-tokenizer", tmp_path_factory.mktemp("xlnet_tokenizer"))
    return folder / "xlnet-base-cased-tokenizer-only"


@pytest.fixture(scope="session")
def glue_dev(tmp_path_factory):
    """The examples of the dev files of SST-2 (sentences), MRPC and RTE (pairs), by task."""
    from jaxred.data.glue import read_glue_file

    names = {"sst2": "SST-2", "mrpc": "MRPC", "rte": "RTE"}
    files = {task: f"glue/{name}/dev.tsv" for task, name in names.items()}
    folder = unpack("glue", tmp_path_factory.mktemp("glue_dev"), lambda name: name in files.values())
    return {task: read_glue_file(folder / file, task, "test") for task, file in files.items()}


@pytest.fixture(scope="session")
def labelling_data(tmp_path_factory):
    """The folders of CoNLL-2000, UD English EWT and PMB 4.0.0, by task."""
    folder = tmp_path_factory.mktemp("labelling")
    for name in ("conll2000", "ud_english_ewt", "pmb_semtag_ccg"):
        unpack(name, folder, lambda name: name.endswith((".txt", ".conllu", ".conll")))
    chunks, tags, meaning = (folder / name for name in ("conll2000", "ud_english_ewt", "pmb_semtag_ccg/4.0.0/en/gold"))
    return {
        "conll2000_chunk": chunks,
        "conll2000_pos": chunks,
        "ud_pos": tags,
        "pmb_semtag": meaning,
        "pmb_ccg": meaning,
    }


@pytest.fixture(scope="module")
def encoder(encoder_folder):
    """The model of the module's `encoder_folder`."""
    return load_encoder(encoder_folder)


@pytest.fixture(scope="module")
def tokenizer(encoder_folder, encoder):
    return Tokenizer(encoder_folder, encoder.config)
