"""Language models: load and embed."""
