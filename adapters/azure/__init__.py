"""Azure DevOps, Services and Server: projects, work items, pipelines and builds."""

from adapters.azure.adapter import Azure

__all__ = ["Azure"]
