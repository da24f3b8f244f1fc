"""Parts for testing what runs on the fabric, ours and yours: the real thing in memory, never a mock."""
