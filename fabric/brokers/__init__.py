"""One file a broker: how packs travel between processes."""
