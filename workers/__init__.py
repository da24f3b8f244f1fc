"""The processes: the command line and what each command runs. Wiring only; the one place that reads the environment."""
