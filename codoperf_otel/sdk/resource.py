"""Who sends: the resource of this process."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource


def make_resource(service_name: str | None) -> Resource:
    """The SDK's resource, with the script's name where nothing names the service, and an instance id."""
    resource = Resource.create({SERVICE_NAME: service_name} if service_name else {})
    added = {}
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        added[SERVICE_NAME] = _script_name() or resource.attributes[SERVICE_NAME]
    if SERVICE_INSTANCE_ID not in resource.attributes:  # the SDK gives one from 1.43 on
        added[SERVICE_INSTANCE_ID] = str(uuid4())
    return resource.merge(Resource(added))


def child_resource(resource: Resource, parent_id: object) -> Resource:
    """The resource of a forked child: with an instance id of its own, the SDK's where it has renewed it."""
    if resource.attributes.get(SERVICE_INSTANCE_ID) != parent_id:
        return resource
    return resource.merge(Resource({SERVICE_INSTANCE_ID: str(uuid4())}))


def _script_name() -> str:
    """The name of the program, or of the package that runs with ``python -m``."""
    script = Path(sys.argv[0] if sys.argv else "")
    name = script.parent.name if script.stem == "__main__" else script.stem
    return "" if name.startswith("-") else name
