"""Jira: reads the issues of a filter or of any JQL."""

from adapters.jira.cloud import Jira

__all__ = ["Jira"]
