"""An MCP server through which an agent asks what its own operations cost: ``codoperf mcp``.

It reads telemetry files, writes nothing, and opens no other file than those it was started with. Needs
``pip install 'codoperf-otel[mcp]'``.

Source: the Model Context Protocol, https://modelcontextprotocol.io/specification.
"""
