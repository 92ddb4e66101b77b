"""A call from its begin to its end: the driver, `with` scopes, sites, cells."""
