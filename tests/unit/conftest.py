"""Property tests try the same examples on every run, without a deadline, and leave no files."""

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("same")
