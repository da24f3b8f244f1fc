"""The types of values for pydantic, each with its check from values.py. The sections say which key has which type."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from fabric.config.schema import values
from fabric.config.settings.retry import Failure

_FLOAT = BeforeValidator(values.number, json_schema_input_type=float)
_INT = BeforeValidator(values.number, json_schema_input_type=int)
_SCALAR = str | int | float | bool
_LIST = BeforeValidator(values.listed, json_schema_input_type=tuple[str, ...])

Scalar = Annotated[str, AfterValidator(values.plain), BeforeValidator(values.scalar, json_schema_input_type=_SCALAR)]
"""Text, also where it is written as a number or a boolean."""
Word = Annotated[str, Field(min_length=1), AfterValidator(values.plain)]
Words = Annotated[tuple[Word, ...], BeforeValidator(values.listed, json_schema_input_type=tuple[Word, ...])]
Name = Annotated[str, Field(min_length=1), AfterValidator(values.channel_part)]
Variable = Annotated[str, AfterValidator(values.variable)]
Inherited = Annotated[tuple[Annotated[str, AfterValidator(values.inherited)], ...], _LIST]
CommandLine = Annotated[str, AfterValidator(values.command_line)]

Image = Annotated[str, AfterValidator(values.image)]
Volume = Annotated[Word, AfterValidator(values.volume)]
ContainerPort = Annotated[
    str, AfterValidator(values.container_port), BeforeValidator(values.scalar, json_schema_input_type=str | int)
]
"""[[ADDRESS:]HOST_PORT:]PORT, also where the port alone is written as a number."""

HostPort = Annotated[str, AfterValidator(values.address), BeforeValidator(values.port, json_schema_input_type=str | int)]
Listeners = Annotated[
    tuple[Annotated[str, AfterValidator(values.listener)], ...],
    BeforeValidator(values.listeners, json_schema_input_type=tuple[str | int, ...] | str | int),
]
"""Each HOST:PORT=SERVER or PORT=SERVER, or without the server."""
SocketListeners = Annotated[tuple[Annotated[str, AfterValidator(values.socket_listener)], ...], _LIST]
"""Each PATH=SERVER, or without the server."""
Mode = Annotated[str, BeforeValidator(values.mode), Field(json_schema_extra={"pattern": values.MODE})]
Networks = Annotated[tuple[Annotated[str, AfterValidator(values.network)], ...], _LIST]
PathPrefix = Annotated[str, AfterValidator(values.path_prefix)]
PublicUrl = Annotated[str, AfterValidator(values.public_url)]
BrokerUrl = Annotated[str, AfterValidator(values.broker_url)]
ServerUrl = Annotated[str, AfterValidator(values.server_url)]
HeaderName = Annotated[str, AfterValidator(values.header)]
HeaderValue = Annotated[
    str, AfterValidator(values.header_value), BeforeValidator(values.scalar, json_schema_input_type=_SCALAR)
]
Failures = Annotated[tuple[Failure, ...], BeforeValidator(values.listed, json_schema_input_type=tuple[Failure, ...])]

Seconds = Annotated[float, _FLOAT, Field(gt=0)]
Grace = Annotated[float, _FLOAT, Field(ge=0)]
Factor = Annotated[float, _FLOAT, Field(ge=1)]
Share = Annotated[float, _FLOAT, Field(ge=0, le=1)]
Lease = Annotated[float, _FLOAT, Field(ge=2)]
Count = Annotated[int, _INT, Field(ge=0)]
Positive = Annotated[int, _INT, Field(ge=1)]
Port = Annotated[int, _INT, Field(ge=0, le=65535)]
Size = Annotated[int, _INT, Field(ge=1024)]
