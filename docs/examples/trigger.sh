#!/bin/sh
# Ask for a sync of the connection that the first argument names, by its name or id.
redis-cli -u "$TIDEGATE_REDIS_URL" XADD tidegate:triggers '*' connection "$1"
