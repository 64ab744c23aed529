"""The devices that the environment names, checked before anything is written."""

import os

from jaxred.errors import UserError


def require_devices() -> None:
    """Rejects a $JAX_PLATFORMS that names a device which this machine does not have.

    Raises:
        UserError: JAX finds none of the devices that the variable names.
    """
    variables = {name: value for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if (value := os.environ.get(name))}
    if not variables:
        return
    import jax

    try:
        jax.devices()
    except Exception as error:  # RuntimeError, and what plugins raise
        settings = " and ".join(f"{name}={value}" for name, value in variables.items())
        reason = str(error).split("\n")[0].rstrip(".") or "its own check failed"
        raise UserError(
            f"The environment has {settings}, and JAX has no such device here ({reason}): unset it, or set "
            "JAX_PLATFORMS=cpu."
        ) from error
