"""The one error that a user of jaxred sees: a sentence that says what is wrong, where, and how to fix it."""


class UserError(ValueError):
    """Bad input, a bad configuration, or an environment that cannot do what was asked.

    Its text is one sentence for the user: the file, line or argument, what was found, what is allowed, and the fix.
    It names arguments as Python spells them (`overwrite=True`, `config.probe.l1=0.1`); the command turns them into
    flags, prints the sentence and exits with status 2. Anything else that leaves a launcher is a bug of jaxred.

    Since it is a `ValueError`, code that catches `ValueError` for a cause of its own lets this one pass first
    (`except UserError: raise`).
    """
