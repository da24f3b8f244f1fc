"""The decisions of the fabric, pure: no I/O, clock, randomness, logging or await. Events in, effects out.

Each process of a fabric has a core of its role: `EdgeCore`, `BridgeCore` or `ObserverCore`. A core has four kinds of methods:

1. `handle(event, now)` takes events in, and `expire(now)` the passing of time. Both return effects.
2. `transmit()` returns the messages that wait in the lanes, as packs; `unsent` is empty if none wait.
3. `next_deadline()` returns when `expire` is due, and `soonest` a lower bound of that, which costs less.
4. Queries change nothing: `snapshot(now)`, `announcements()`, and those of a role, such as the `credit` of a bridge or the
   `names` of an edge.

A driver calls them from one thread, with times that never run back, in this order (fabric/runtime/loop.py does):

1. `handle`, for each event. The effects are performed in order, before the next event is handled; an event that an effect
   causes waits for its turn.
2. After the events of a turn, `transmit`, if `unsent` is not empty; its packs may wait a little, for more to come.
3. Then `soonest`: if it is earlier than the timer that runs, the timer is set to `next_deadline`.
4. `expire`, once that time has come, after all events that had come by then; the effects as in 1, then 2 and 3.
5. At the end `leave(now)`, its effects, and `transmit` once more. From then on `handle` returns nothing.

An effect that fails is reported as an event, if the core has to know: PackNotConfirmed, ServerExited, LinkGone.

Above it: fabric/runtime. In it: edge/ and bridge/, which know nothing of each other, and peers/, which both use. Below it:
fabric/mcp and the envelope.
"""
