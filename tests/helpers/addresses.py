"""Addresses on this machine at which nothing listens."""

import socket


def free_address() -> str:
    """HOST:PORT, free for now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"
