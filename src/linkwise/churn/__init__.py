"""Who will be gone in the next two weeks: clean, label, describe, model, explain, rank."""
