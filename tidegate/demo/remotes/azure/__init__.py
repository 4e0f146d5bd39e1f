"""A simulated Azure DevOps organisation."""

from tidegate.demo.remotes.azure.model import Item, Organisation, Project
from tidegate.demo.remotes.azure.render import Person
from tidegate.demo.remotes.azure.server import AzureDevOps

__all__ = ["AzureDevOps", "Item", "Organisation", "Person", "Project"]
