"""The decisions of the fabric, pure: no I/O, clock, randomness, logging or await. Events in, effects out.

Each process of a fabric has a core of its role: `EdgeCore`, `BridgeCore` or `ObserverCore`. A core has four kinds of methods:

1. What has happened comes in by `handle(event, now)`, and time by `expire(now)`. Both return effects.
2. What waits in the lanes is given out by `transmit()`, packed; `unsent` is empty where nothing waits.
3. When the core wants to be called next is said by `next_deadline()`, and by `soonest`, a lower bound that costs less.
4. What may be asked changes nothing: `snapshot(now)`, `announcements()`, and what a role adds, as the `credit` of a bridge or
   the `names` of an edge.

A driver calls them from one thread, with times that never run back, in this order (fabric/runtime/loop.py does):

1. `handle`, for each event. The effects are performed in order and before the next event is handled; an event that
   an effect causes waits for its turn.
2. After the events of a turn, `transmit`, if `unsent` says so; what it returns may wait a little, for more to come.
3. Then `soonest`: where it is earlier than the timer that runs, the timer is set to `next_deadline`.
4. `expire`, once that time has come, after all events that had come by then; the effects as in 1, then 2 and 3.
5. At the end `leave(now)`, its effects, and `transmit` once more. From then on `handle` answers nothing.

An effect that fails is reported as an event where the core has to know: PackNotConfirmed, ServerExited, LinkGone.
"""
