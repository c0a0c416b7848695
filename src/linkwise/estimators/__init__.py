"""What several studies learn with."""
