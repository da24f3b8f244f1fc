"""What is told about the fabric to those who run it."""
