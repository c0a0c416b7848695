"""Graphs that do not belong to a family: detectors, their calibration, and what a score really saw."""
