"""Jira on Cloud, Data Center and Server: reads the issues of a filter or of any JQL."""

from adapters.jira.adapter import Jira

__all__ = ["Jira"]
