"""Who sends: the resource of this process."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from uuid import uuid4

from opentelemetry.sdk.resources import (
    HOST_NAME,
    PROCESS_PID,
    PROCESS_RUNTIME_NAME,
    PROCESS_RUNTIME_VERSION,
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    Resource,
)

from codoperf_otel.sdk.sendable import SENDABLE


def make_resource(service_name: str | None) -> Resource:
    """The SDK's resource, with the script's name where nothing names the service, and which process it is."""
    resource = Resource.create({SERVICE_NAME: service_name} if service_name else {})
    added = {}
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        added[SERVICE_NAME] = _script_name() or resource.attributes[SERVICE_NAME]
    if SERVICE_INSTANCE_ID not in resource.attributes:  # the SDK adds one from 1.43 on
        added[SERVICE_INSTANCE_ID] = str(uuid4())
    merged = Resource(_process()).merge(resource).merge(Resource(added))
    return Resource(SENDABLE.attributes(merged.attributes), merged.schema_url)


def _process() -> dict[str, str | int]:
    """What is said of this process; what the SDK's resource says takes precedence."""
    found: dict[str, str | int] = {
        PROCESS_PID: os.getpid(),
        PROCESS_RUNTIME_NAME: sys.implementation.name,
        PROCESS_RUNTIME_VERSION: platform.python_version(),
        HOST_NAME: platform.node(),
    }
    return {name: value for name, value in found.items() if value}


def child_resource(resource: Resource, parent_id: object) -> Resource:
    """The resource of a forked child: its process id and instance id, the SDK's where it renews that."""
    own: dict[str, str | int] = {PROCESS_PID: os.getpid()} if PROCESS_PID in resource.attributes else {}
    if resource.attributes.get(SERVICE_INSTANCE_ID) == parent_id:
        own[SERVICE_INSTANCE_ID] = str(uuid4())
    return resource.merge(Resource(own))


def _script_name() -> str:
    """The name of the program, or of the package that runs with ``python -m``."""
    script = Path(sys.argv[0] if sys.argv else "")
    name = script.parent.name if script.stem == "__main__" else script.stem
    return "" if name.startswith("-") else name
