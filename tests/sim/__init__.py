"""The deterministic simulation: real cores in a simulated world, for behaviour under failure. This page is its map.

    from tests.sim.http_clients import Http
    from tests.sim.running_fabric import assert_all_rules_held, last_request, running_fabric, until_answered

    world = running_fabric(bridges=2)                   # an edge and two bridges that know each other
    client = Http(world, "c", "tools", legacy=False)    # a client of the server "tools"
    client.call("write", delay=0.5)                     # a tools/call; `delay` tells the server how long it takes
    world.run(0.2)                                      # 0.2 s of simulated time
    world.fault("kill bridge")                          # count the fault, so that the rules allow for it
    world.bridges[0].kill()
    until_answered(world, last_request(client), 5.0)    # fails when no answer comes within 5 simulated seconds
    assert_all_rules_held(world, client)                # wait for quiet, and check every rule

A *world* holds a clock, a queue of future events, a broker, processes, servers and clients. The cores in its processes are the
fabric's own; everything else is simulated. Nothing happens outside the queue, no time passes but by `world.run`, and all chance
comes from one *seed*: the same seed is the same run.

A *fault* is harm from outside: a lost pack, a stalled broker, a killed process. A *deed* is something rare that clients, people
or servers do within their rights: a batch, a restart, a call that kills its server. A *planted bug* is a faulty subclass of one
part of a core, put in to see that a rule breaks: a simulation that does not find it would not find the next one.

A fault delays answers and explains failures. The process that it hits has it in `touched`, and `world.quiet_since` is when the
last one was over; the rules demand more of untouched processes, and of requests made after that.

    world.py            World: the clock, the queue, what is in it, and its record; Settings: what a world is made of
    process.py          an edge, a bridge and an observer, each a core that is driven as the runtime drives it
    broker.py           the broker, with its faults
    wires.py            a link whose far end may stop reading
    servers.py          MCP servers, which do what the arguments of a call say
    clients.py          clients on long links; http_clients.py: clients over HTTP; requests.py: one request and its answers
    modern_only.py      servers that speak only the modern revision, and hold their clients to it
    raw_posts.py        requests over HTTP that a test makes by itself
    invariants.py       the rules of every run, checked at its end: one answer each, in time, and no state left in any core
    faults.py           every kind of fault; deeds.py: every kind of deed
    seeds.py            what a seed does: plain, slow, varied or crossed; seeds.txt: seeds that once broke a rule
    running_fabric.py   what a test of a world begins with, and its steps

    test_*_worlds.py    worlds: stories of one failure each, told step by step
    test_seeds.py       thousands of seeds, with counts of each kind of fault and deed
    test_planted_*.py   planted bugs that seeds find; a bug that seeds find too seldom stands beside its world

To run them: `pytest tests/sim`, one world with `pytest tests/sim/test_worlds.py -k goodbye`, many seeds with
`python -m tests.sim --seeds 10000`. A failure prints its seed, and `python -m tests.sim --verbose SEED` prints that
run's story; `--slow`, `--varied`, `--crossed` or `--modern-only` says which kind of seed it is.
"""
