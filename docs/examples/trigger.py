"""Ask for some records of a connection: trigger.py CONNECTION STREAM KEY [KEY ...]"""

import json
import os
import sys

import redis

connection, stream, *keys = sys.argv[1:]
queue = redis.Redis.from_url(os.environ["TIDEGATE_REDIS_URL"])
entry = {"connection": connection, "scope": "records", "stream": stream, "keys": json.dumps(keys)}
print(queue.xadd("tidegate:triggers", entry).decode())
