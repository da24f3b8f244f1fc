"""Makes the access rules of a worker's HTTP listeners from its settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from fabric.config.settings.process import Settings
from fabric.security.access import AccessRules


def access_rules(settings: Settings) -> AccessRules:
    """The Host and Origin headers that the HTTP listeners accept; the host of the public URL is one of them."""
    public = urlsplit(settings.listen.public_url).hostname if settings.listen.public_url else None
    own = (f"[{public}]" if ":" in public else public,) if public else ()
    return AccessRules(
        allowed_hosts=(*settings.access.allowed_hosts, *own),
        allowed_origins=settings.access.allowed_origins,
    )
