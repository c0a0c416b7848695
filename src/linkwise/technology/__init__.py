"""Technologies: which codes will stand together on patents, by texts, tokens, graphs and chance."""
