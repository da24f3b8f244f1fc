"""The errors for requests that no server has answered: the table of outcomes (docs/guarantees.md) in words.

Above it: correlation.py, stalled.py, http_requests.py. Below it: the exchange, and the errors of the fabric.
"""

from __future__ import annotations

from fabric.core.edge.exchange import RETURN_PAUSE_MOST, Exchange
from fabric.envelope import Kind
from fabric.faults import Fault, Reason


def never_sent(limit: float) -> Fault:
    """The request has waited for the broker in vain. limit: seconds."""
    message = f"the message broker was unavailable for {limit:g} s; the request was not carried out"
    return Fault(Reason.UNAVAILABLE, message, retryable=True, retry_after=1.0)


def late(exchange: Exchange, now: float, untaken: str, *, free: bool) -> Fault:
    """The time of the request is over. untaken, free: as ServerDirectory gives them for its server."""
    server, waited = exchange.request.server, f"{now - exchange.request.arrived:.0f} s"
    if not exchange.owner and untaken:
        return Fault(Reason.NO_WORKER, f"no bridge took this request within {waited}: {untaken}", retryable=True)
    if exchange.no_room or not (exchange.owner or free):
        message = f"{server} had no room for this request within {waited}"
        return Fault(Reason.OVERLOADED, message, retryable=True, retry_after=RETURN_PAUSE_MOST)
    if exchange.granted and not exchange.repeatable:
        message = f"{server} did not answer within {waited}; the call may have been carried out"
        return Fault(Reason.OUTCOME_UNKNOWN, message)
    # without a grant, unrepeatable work was not started
    return Fault(Reason.DEADLINE, f"{server} did not answer within {waited}", retryable=True)


def session_gone(exchange: Exchange) -> Fault:
    """The bridge that ran its session was given up."""
    unknown = exchange.request.kind is Kind.REQUEST and not exchange.repeatable
    reason = Reason.OUTCOME_UNKNOWN if unknown else Reason.SESSION_LOST
    return Fault(reason, f"the bridge that ran this session of {exchange.request.server} is gone")


def owner_gone(exchange: Exchange) -> Fault:
    """The bridge that was granted this call was given up."""
    message = f"the bridge that ran this call of {exchange.request.server} is gone; the call may have been carried out"
    return Fault(Reason.OUTCOME_UNKNOWN, message)


def failed_too_often(exchange: Exchange, reason: str) -> Fault:
    """Servers failed again and again while they ran the request. reason: why the last one failed."""
    message = f"{exchange.request.server} failed {exchange.failed_runs} times while it ran this request: {reason}"
    return Fault(Reason.UNAVAILABLE, message)


def promise_broken() -> Fault:
    """The client has the token of a session of another bridge than the one that has opened the session."""
    return Fault(Reason.SESSION_LOST, "the bridge that was to run this session gave it back; begin a new session")
