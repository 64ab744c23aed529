"""Why a file could not be read or written, in one line for a user."""


def reason_of(error: Exception) -> str:
    """The words of the operating system or TensorStore, without TensorStore's dump of its specification."""
    reason = str(error).split(" [")[0].replace("\n", " ")
    if reason == "PERMISSION_DENIED: Unknown":  # of S3
        return f"{reason}; the storage refuses the credentials of the environment"
    return reason
