"""What imports cost.

``lazy_loads`` measures one that is done at a first use, ``packages`` puts off those of a package's own names.
``tracing`` runs a program and records all of them, ``costs`` sums up what it recorded. ``uses`` reads from a
source who uses an import, ``sources`` does so for a whole program, ``moving`` moves imports into functions,
and ``advice`` tells from a second run what that saves. ``watching`` and ``start_up`` use the tracer in a
program that runs, for spans and for what its start cost.
"""
