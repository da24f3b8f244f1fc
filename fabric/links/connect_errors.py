"""Maps the errors of connecting (DNS, TCP, TLS, timeout) to LinkError classes. Above it: every `connect` of a link."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fabric.errors import LinkCertificateError, LinkHandshakeError, LinkRefused, LinkTimeout


@asynccontextmanager
async def mapped_connect_errors(where: str, timeout: float) -> AsyncIterator[None]:
    """A context to connect to `where` in: its errors become LinkRefused, its kinds, or LinkTimeout after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise LinkTimeout(f"{where} did not answer within {timeout:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise LinkCertificateError(f"the certificate of {where} is not trusted: {error.verify_message}") from error
    except ssl.SSLError as error:
        reason = error.reason or error
        raise LinkHandshakeError(f"no TLS with {where}: {reason}; see that this port speaks TLS, as its URL says") from error
    except socket.gaierror as error:
        raise LinkRefused(f"cannot connect to {where}: no such host ({error.strerror}); correct its URL") from error
    except FileNotFoundError as error:
        raise LinkRefused(f"cannot connect to {where}: there is no such socket; start it, or correct its URL") from error
    except ConnectionRefusedError as error:
        raise LinkRefused(f"cannot connect to {where}: nothing listens there; start it, or correct its URL") from error
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
        raise LinkHandshakeError(f"{where} closed the connection during the handshake; see its log") from error
    except OSError as error:
        raise LinkRefused(f"cannot connect to {where}: {error.strerror or error}") from error
