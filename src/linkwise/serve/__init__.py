"""The runs of a folder as an HTTP API and a dashboard: parse, call what `run` calls, show."""
