"""Azure DevOps Services: projects and work items."""

from adapters.azure.adapter import Azure

__all__ = ["Azure"]
