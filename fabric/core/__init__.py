"""The decisions of the fabric, pure: no I/O, clock, randomness, logging or await. Events in, effects out."""
