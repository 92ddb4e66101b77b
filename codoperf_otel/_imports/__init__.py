"""What imports cost.

``lazy_loads`` measures one that is done at a first use, ``packages`` puts off those of a package's own names.
``tracing`` runs a program and records all of them, ``costs`` sums up what it recorded.
"""
