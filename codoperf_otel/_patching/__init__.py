"""Changing what other code finds under a name: the import hook, replacing and restoring."""
