"""What is wrong with a tokenizer, or with a text for it, found before anything is encoded.

A tokenizer that does not fit its model, or a text that it does not know, raises nothing: vectors come out, of unknown
tokens or of the wrong place. What is certainly wrong is rejected, what is probably wrong is warned of.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxred.errors import UserError

log = logging.getLogger("jaxred")

_MUCH, _NEARLY_ALL = 0.1, 0.9  # of the tokens of a text that may be unknown, before a warning and before a rejection
_CASED = 0.05  # of a vocabulary's tokens have capitals, where it was made of text that was not lower-cased
_SAMPLE = 256  # sentences of a split that are looked at
_RARE = "\u16a0\U00010900\ua4d0"  # Runic, Phoenician, Lisu: a word that few vocabularies have
_SENTENCE_TOKENS = {"first": "[CLS]", "last": "<cls>"}


def check_tokenizer(
    tokenizer: Any, folder: Path, position: Literal["first", "last"] | None, explicit_case: bool
) -> None:
    """Rejects a tokenizer that cannot give what its model takes.

    Args:
        tokenizer: a fast tokenizer of transformers.
        folder: where it came from, for messages.
        position: where the model has the token that stands for the sentence; None: it has none.
        explicit_case: whether the folder itself says if text is lower-cased.

    Raises:
        UserError: the vocabulary is empty; the unknown token is not in it; the sentence's token is not at its place;
            a vocabulary with capitals would be lower-cased, and nobody asked for that.
    """
    backend = tokenizer.backend_tokenizer
    special = {token.content for token in backend.get_added_tokens_decoder().values()}
    words = [token for token in backend.get_vocab(with_added_tokens=False) if token not in special]
    if not any(not _bracketed(word) for word in words):
        raise UserError(f"The vocabulary of {folder} is empty: it has no token but special ones; download it again.")
    _check_unknown(tokenizer, folder)
    if position is not None:
        _check_sentence_token(tokenizer, folder, position)
    _check_case(backend, words, folder, explicit_case)


def check_text(
    tokenizer: Any, texts: Sequence[str] | Sequence[Sequence[str]], folder: Path, what: str, max_length: int
) -> None:
    """Rejects a text of which the tokenizer knows nearly nothing, and warns of one of which it does not know much.

    Args:
        tokenizer: a fast tokenizer of transformers.
        texts: sentences, or the words of sentences; some of them, spread over all, are looked at.
        folder: where the tokenizer came from, for messages.
        what: the text, for messages.
        max_length: the most tokens of a sentence that will be used.

    Raises:
        UserError: nearly all tokens are unknown, or no token is made of any sentence that is not cut into words.
    """
    step = max(1, len(texts) // _SAMPLE)
    sample = [text if isinstance(text, str) else list(text) for text in texts[::step]]
    sample = [text for text in sample if (text.strip() if isinstance(text, str) else text)]
    if not sample:
        return
    words = not isinstance(sample[0], str)
    encodings = encode(tokenizer, folder, sample, is_split_into_words=words, truncation=True, max_length=max_length)
    n_tokens, n_unknown = 0, 0
    for encoding in encodings:
        for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
            n_tokens += not special
            n_unknown += not special and token == tokenizer.unk_token_id
    if not n_tokens and words:
        return  # each word without a token is counted and reported
    if not n_tokens:
        raise UserError(
            f"The tokenizer of {folder} makes no token of any of {len(sample)} sentences of {what}: use an encoder of "
            "the text's language and script."
        )
    if n_unknown >= _NEARLY_ALL * n_tokens:
        raise UserError(
            f"The tokenizer of {folder} knows nearly nothing of {what}: {n_unknown} of {n_tokens} tokens of "
            f"{len(sample)} sentences are {tokenizer.unk_token}; use an encoder of the text's language and script, and "
            "the tokenizer that came with it (with do_lower_case in its tokenizer_config.json as it was trained)."
        )
    if n_unknown >= _MUCH * n_tokens:
        log.warning(
            "%s: %d of %d tokens of %d sentences are %s, which the tokenizer does not know: check the language, and "
            "do_lower_case in tokenizer_config.json",
            what,
            n_unknown,
            n_tokens,
            len(sample),
            tokenizer.unk_token,
        )


def encode(tokenizer: Any, folder: Path, *texts: Any, **options: Any) -> Sequence[Any]:
    """The tokenizer's encodings; what it raises, in a sentence.

    Raises:
        UserError: the tokenizer cannot take the texts.
    """
    try:
        return tokenizer(*texts, **options).encodings
    except Exception as error:  # the tokenizers library raises bare exceptions
        if isinstance(error, MemoryError):
            raise
        reason = str(error).split("\n")[0].rstrip(".")
        raise UserError(
            f"The tokenizer of {folder} cannot take the text ({type(error).__name__}: {reason}): use the tokenizer "
            "that came with the model."
        ) from error


def _check_unknown(tokenizer: Any, folder: Path) -> None:
    model = tokenizer.backend_tokenizer.model
    name, kind = getattr(model, "unk_token", None), type(model).__name__
    in_vocabulary = name is not None and model.token_to_id(name) is not None
    if kind in ("WordPiece", "WordLevel") and not in_vocabulary:
        raise UserError(
            f"The vocabulary of {folder} does not have the unknown token {name}, which stands for every word that is "
            "not in it: use the vocabulary that came with the model, or name its special tokens in a "
            'tokenizer_config.json, such as {"unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", '
            '"pad_token": "<pad>", "mask_token": "<mask>"}.'
        )
    try:
        n_tokens = len(tokenizer(_RARE, add_special_tokens=False).encodings[0].ids)
    except Exception as error:
        raise UserError(
            f"The tokenizer of {folder} has no unknown token, and fails at a word that it does not know "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}): use the tokenizer that came with "
            "the model."
        ) from error
    if not n_tokens:
        log.warning(
            "%s: the tokenizer has no token for unknown words, and leaves them out without saying so: check that it "
            "came with the model",
            folder,
        )


def _check_sentence_token(tokenizer: Any, folder: Path, position: Literal["first", "last"]) -> None:
    ids = encode(tokenizer, folder, ["a"])[0].ids
    name = tokenizer.cls_token or _SENTENCE_TOKENS[position]
    expected = tokenizer.convert_tokens_to_ids(name)
    if not ids or expected is None or ids[0 if position == "first" else -1] != expected:
        raise UserError(sentence_token_message(folder, name, position))


def sentence_token_message(folder: Path, name: str, position: str, model_type: str = "") -> str:
    model = model_type or ("bert" if position == "first" else "xlnet")
    return (
        f"The tokenizer of {folder} does not put {name} {position}, as {model} has it: use the tokenizer that came "
        "with the model (its tokenizer.json has a post_processor that adds it)."
    )


def _check_case(backend: Any, words: Sequence[str], folder: Path, explicit: bool) -> None:
    lowers = backend.normalizer is not None and backend.normalizer.normalize_str("Aa") == "aa"
    plain = [word for word in words if not _bracketed(word)]
    n_capital = sum(word != word.lower() for word in plain)
    if lowers and n_capital >= _CASED * len(plain):
        change = (
            f"The vocabulary of {folder} is cased, but its tokenizer lower-cases all text, so that {n_capital} of its "
            f"{len(plain)} tokens can never be used"
        )
        if not explicit:
            raise UserError(
                f'{change}: write {{"do_lower_case": false}} to {folder / "tokenizer_config.json"}, or true if the '
                "model was trained so."
            )
        log.warning("%s: check do_lower_case in tokenizer_config.json.", change)
    if not lowers and not n_capital and any(word != word.upper() for word in plain):
        log.warning(
            "The vocabulary of %s has no capitals, but its tokenizer does not lower-case text, so that words with "
            "capitals are unknown: check do_lower_case in tokenizer_config.json.",
            folder,
        )


def _bracketed(word: str) -> bool:
    """Whether a token looks like a special or unused one: [UNK], [unused7], <mask>."""
    return len(word) > 2 and (word[0], word[-1]) in (("[", "]"), ("<", ">"))
