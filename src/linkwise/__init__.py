"""Linkwise predicts links: records in, a ranking out, judged the same honest way."""

__version__ = "0.1.0"
