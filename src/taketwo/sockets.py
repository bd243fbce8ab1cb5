"""Sockets that servers listen on."""

from __future__ import annotations

import errno
import socket

from taketwo.errors import ConfigError, one_line


def bound_socket(host: str, port: int) -> socket.socket:
    """A TCP socket that is bound and does not listen yet.

    Args:
        port: 0 takes any free one.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"host {host!r} is no address of this machine: {one_line(reason)}") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise cannot_use(host, port, error) from error
    return bound


def cannot_use(host: str, port: int, error: OSError) -> ConfigError:
    """What to tell of an address that cannot be bound or listened on."""
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"host {host!r} is no address of this machine")
    reason = (error.strerror or str(error)).lower()
    return ConfigError(f"port {port} on {host} cannot be used: {reason}; stop what listens there, or give another port")
