"""Sequence labelling: a row is a word, and its vector is that of its last sub-word.

    python launch/study.py --config=configs/labeling.py:conll2000_chunk --config.task.data_dir=conll2000 \
        --workdir=runs/chunk

| task | files in the folder | label |
|---|---|---|
| conll2000_chunk, conll2000_pos | train.txt, test.txt | CoNLL-2000's third or second column |
| ud_pos | *train.conllu, *dev.conllu, *test.conllu | upos, or `--config.task.label_column=xpos` |
| pmb_semtag, pmb_ccg | train.conll, dev.conll, test.conll | semantic tags, CCG categories (Parallel Meaning Bank) |
| conllu | as ud_pos | any column: `--config.task.label_column=deprel` |
| columns | train.*, dev.*, test.* | column 2: `--config.task.label_column=4`; `word_column`, `separator`, `comment` |
| parallel_words | train.word, train.label, ... | one label per word, one sentence per line |

A file for dev may be missing (CoNLL-2000 has none): a tenth of the training sentences is then held out. Of train the
first 150,000 words are used, cut at a sentence, as in the paper; `--config.task.limit_instances=20000` takes fewer, -1
all. Labels of dev and test that train does not have count as the task's most common open class;
`--config.task.fallback_label` names another. For the other vectors of a word:
`--config.extraction.word_pooling=first` (or average).
"""

from jaxred.config import StudyConfig, TaskConfig
from jaxred.data.labeling import LABELING_TASKS
from jaxred.errors import UserError

FALLBACKS = {
    "conll2000_chunk": "I-NP",
    "conll2000_pos": "NN",
    "ud_pos": "NOUN",
    "pmb_semtag": "CON",
    "pmb_ccg": "n",
}


def get_config(task: str = "ud_pos") -> StudyConfig:
    if task not in LABELING_TASKS:
        raise UserError(f"configs/labeling.py:{task} is not known: choose one of {', '.join(LABELING_TASKS)}.")
    return StudyConfig(TaskConfig(name=task, limit_instances=150_000, fallback_label=FALLBACKS.get(task, "")))
