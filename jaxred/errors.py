"""The one error a user of jaxred sees: a sentence that says what is wrong, where, and how to mend it."""


class UserError(ValueError):
    """Bad input, a bad configuration, or an environment that cannot do what was asked.

    Its text is one sentence for the user: the file, line or field, what was found, what is allowed, and the mend.
    Launchers print it and exit with status 2; anything else that escapes a launcher is a bug of jaxred.
    """
