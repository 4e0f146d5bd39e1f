"""Simulated Jira, Jenkins and Azure DevOps servers: a mutable model behind the vendors' own protocols."""
