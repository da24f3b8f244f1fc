"""Output for people: lines in colour, a moving line, tables, and a stderr that never blocks."""
