"""Names that others have chosen, as they may be shown: labels, tasks, models."""

import unicodedata

_JOINERS = "\u200c\u200d"  # between letters of Persian and Hindi, and in emoji
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogates, line and paragraph ends


def visible(text: str) -> str:
    """The text in one line: its escape stands for what would end the line, move the cursor or not be seen."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(letter) if _is_hidden(letter) else letter for letter in text)


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
