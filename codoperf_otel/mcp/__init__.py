"""An MCP server through which an agent asks what its own operations cost: ``codoperf mcp``.

It asks a process that runs, or reads telemetry files. It writes nothing, and opens nothing but what it was
started with. Needs ``pip install 'codoperf-otel[mcp]'``.

Source: the Model Context Protocol, https://modelcontextprotocol.io/specification.
"""
