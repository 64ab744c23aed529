"""The devices that JAX is told to take."""

import os

from jaxred.errors import UserError


def require_devices() -> None:
    """Refuses a $JAX_PLATFORMS that names what is not there, before anything is made.

    Raises:
        UserError: JAX finds none of the devices that it is told to take.
    """
    asked = {name: value for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME") if (value := os.environ.get(name))}
    if not asked:
        return
    import jax

    try:
        jax.devices()
    except Exception as error:  # RuntimeError, and what plugins raise
        told = " and ".join(f"{name}={value}" for name, value in asked.items())
        reason = str(error).split("\n")[0].rstrip(".") or "its own check failed"
        raise UserError(
            f"The environment has {told}, and JAX has no such device here ({reason}): unset it, or set "
            "JAX_PLATFORMS=cpu."
        ) from error
