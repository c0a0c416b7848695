"""Which text helps which: two collections matched, linked to what they are about, and asked."""
