"""What neurons respond to: the words or sentences for which they are largest and smallest, and their classes.

    python launch/neurons.py --workdir=runs/chunk
    python launch/neurons.py --workdir=runs/chunk --neurons=3:17,5:200 --k=20

By default they are those of the smallest minimal set that is a finding. Writes WORKDIR/results/neurons.json and
neurons_table.csv (one line per example), and the report and results/neurons.csv again. See docs/neurons.md.
"""

from absl import flags

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.report import tables
from jaxred.runs import neurons

flags.declare_key_flag("workdir")  # which app defines
NEURONS = flags.DEFINE_list("neurons", [], "Neurons as layer:index, such as 3:17,5:200; by default the minimal set.")
K = flags.DEFINE_integer("k", 10, "How many words or sentences at either end.", lower_bound=1)
MIN_COUNT = flags.DEFINE_integer("min_count", 3, "The fewest occurrences of a word.", lower_bound=1)
SPLIT = flags.DEFINE_enum("split", "train", ["train", "dev", "test"], "Whose rows.")


def main(config: StudyConfig | None, overwrite: bool) -> None:
    del overwrite
    if config is not None:
        raise UserError("--config has no use here: the run in --workdir has its own; leave it out.")
    workdir = flags.FLAGS["workdir"].value
    if not workdir:
        raise UserError("Pass --workdir=RUN, the folder of a finished study.")
    found = neurons.run_folder(workdir, NEURONS.value, K.value, MIN_COUNT.value, SPLIT.value)
    print(f"\n{tables.printed(found)}\n\nResults: {workdir}/results (neurons.json, neurons_table.csv, neurons.csv)")


if __name__ == "__main__":
    app.run_without_workdir(main)
