"""The scheduler: what falls due, the one door through which every sync is opened, and the upkeep."""
