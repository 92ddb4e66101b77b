"""The signals, a module each: global provider, exporters, and how these are set up."""
