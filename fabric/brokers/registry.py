"""The registry of brokers: finds the adapter for the scheme of a broker's URL, and imports it when it is first needed.

A new broker is a module with a `connect` like the one here and with CAPABILITIES by scheme, and one line here for each scheme.
"""

from __future__ import annotations

from importlib import import_module

from fabric.brokers.base import Broker
from fabric.brokers.url import masked as masked
from fabric.brokers.url import redacted as redacted
from fabric.capabilities import Capabilities
from fabric.errors import ConfigError

ADAPTERS = {
    "memory": "fabric.brokers.memory",
    "nats": "fabric.brokers.nats.adapter",
    "tls": "fabric.brokers.nats.adapter",  # NATS clients' own name for NATS over TLS
    "redis": "fabric.brokers.redis.adapter",
    "rediss": "fabric.brokers.redis.adapter",
    "amqp": "fabric.brokers.amqp.adapter",
    "amqps": "fabric.brokers.amqp.adapter",
}
"""The module of each URL scheme."""


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Make one connection to the broker at `url`, for one fabric and one incarnation, within `timeout` seconds.

    Raises ConfigError for an invalid URL or an unknown scheme, BrokerDenied for refused credentials, and the kind of
    BrokerUnavailable that fits. No message holds a credential.
    """
    scheme, separator, _ = url.partition("://")
    module = ADAPTERS.get(scheme.lower()) if separator else None
    if module is None:
        known = ", ".join(f"{name}://" for name in ADAPTERS)
        problem = f"no broker has the scheme {scheme}://" if separator else "a broker URL begins with a scheme"
        raise ConfigError(f"{problem}; known are {known}")
    broker: Broker = await import_module(module).connect(url, fabric=fabric, incarnation=incarnation, timeout=timeout)
    return broker


def capabilities() -> dict[str, Capabilities]:
    """The capabilities of each scheme's broker as a transport."""
    return {scheme: import_module(module).CAPABILITIES[scheme] for scheme, module in ADAPTERS.items()}
