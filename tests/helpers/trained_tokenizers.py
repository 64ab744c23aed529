"""Small tokenizers of the kinds in use, trained on a few sentences and saved as Hugging Face folders have them."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

KINDS = {
    "bert": "wordpiece [CLS]", "distilbert": "wordpiece [CLS]", "electra": "wordpiece [CLS]", "mpnet": "wordpiece <s>",
    "roberta": "bpe <s>", "modernbert": "bpe [CLS]", "gpt2": "bpe", "qwen2": "bpe", "qwen3": "bpe", "llama": "bpe",
    "mistral": "unigram bos", "gemma2": "unigram bos", "gemma3_text": "unigram bos",
    "xlm-roberta": "unigram <s>", "camembert": "unigram <s>", "albert": "unigram [CLS]", "deberta-v2": "unigram [CLS]",
    "xlnet": "unigram xlnet",
}  # fmt: skip


def _tokens(cls: str, sep: str, pad: str, unk: str, mask: str) -> dict[str, str]:
    return {"cls_token": cls, "sep_token": sep, "pad_token": pad, "unk_token": unk, "mask_token": mask}


SPECIAL = {
    "": {},
    "bos": {"bos_token": "<s>", "unk_token": "<unk>"},
    "<s>": _tokens("<s>", "</s>", "<pad>", "<unk>", "<mask>"),
    "[CLS]": _tokens("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"),
    "xlnet": _tokens("<cls>", "<sep>", "<pad>", "<unk>", "<mask>"),
}


def write_tokenizer(folder: Path, model_type: str, texts: list[str]) -> int:
    """Writes the tokenizer that models of a type have, and gives the number of its tokens."""
    kind, _, specials = KINDS.get(model_type, "wordpiece [CLS]").partition(" ")
    tokens = SPECIAL[specials]
    special = list(tokens.values())
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=tokens["unk_token"]))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token=tokens["unk_token"])
    tokenizer.train_from_iterator(texts, trainer)
    if "cls_token" in tokens:
        cls, sep = tokens["cls_token"], tokens["sep_token"]
        numbers = [(token, tokenizer.token_to_id(token)) for token in (cls, sep)]
        single, pair = f"{cls} $A {sep}", f"{cls} $A {sep} $B:1 {sep}:1"
        if specials == "xlnet":
            single, pair = f"$A {sep} {cls}:2", f"$A {sep} $B:1 {sep}:1 {cls}:2"
        elif "<s>" in tokens.values():
            pair = f"{cls} $A {sep} {sep} $B {sep}"
        tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=numbers)
    elif specials == "bos":
        bos = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[bos]
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer.get_vocab_size()
