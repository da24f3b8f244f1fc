"""What happens in a process: settings, the loop that drives the core, edges and bridges made of the parts below."""
