"""What the process knows of its calls by name."""
