"""A run's numbers as one self-contained HTML page."""
