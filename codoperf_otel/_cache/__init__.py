"""Tiers, keys, codec and counts of the caches; `cache_manager` is what users call."""
