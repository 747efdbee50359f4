"""What every process of flywheel that answers HTTP shares: sockets, callers, errors, counts."""
