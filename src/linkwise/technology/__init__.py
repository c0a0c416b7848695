"""Which technologies, never combined before, will be? Patents, codes, what chance combines."""
