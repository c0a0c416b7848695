"""Pure functions on arrays, each with a confidence interval."""
