"""What each setting is for, and the forms of a frequency, in words: the reference is made of this."""

from collections.abc import Mapping

import msgspec


class About(msgspec.Struct, frozen=True):
    """One setting in words. `unset` is what holds without it, where that is no plain value."""

    meaning: str
    example: str
    unset: str = ""


SETTINGS: Mapping[str, About] = {
    "data_dir": About(
        "Where the embedded database, the embedded Redis and the keys made here are. On a local disk.",
        "/var/lib/tidegate",
        "~/.local/share/tidegate",
    ),
    "host": About("The address that the API listens on. 0.0.0.0 and :: are all addresses.", "0.0.0.0"),  # noqa: S104
    "port": About("The port that the API listens on; 0 is any free one.", "8420"),
    "public_url": About(
        "Where others reach the API, such as a reverse proxy's address: the remotes send webhooks there.",
        "https://tidegate.example.com",
        "http:// with host and port",
    ),
    "database_url": About(
        "The database. With PostgreSQL the secret key must be given, and any number of processes may run.",
        "postgresql://tidegate:password@db.internal/tidegate",
        "SQLite in the data folder",
    ),
    "database_schema": About("The schema that holds everything, on PostgreSQL.", "tidegate"),
    "redis_url": About(
        "A Redis 6.2 or newer, or a Valkey. It only wakes workers; nothing in it needs a backup.",
        "redis://redis.internal:6379/0",
        "a server of its own, in the data folder",
    ),
    "secret_key": About(
        "Seals the stored secrets; at least 16 characters. To change it: the new one, a comma, the old one, "
        "and then tidegate secrets rotate.",
        "a-long-random-text-of-your-own",
        "made in the data folder, for the embedded database only",
    ),
    "admin_key": About(
        "The administrator's key of the API; at least 8 visible characters.",
        "another-long-random-text",
        "made at the first start, in admin.key of the data folder",
    ),
    "allow_networks": About(
        "Private networks where your servers are; others are refused, and those of cloud metadata always.",
        "10.0.0.0/8,192.168.7.0/24",
        "none",
    ),
    "ca_file": About(
        "A file of certificates, in PEM form, of authorities to trust beside those of the system.",
        "/etc/ssl/certs/company.pem",
        "those of the system",
    ),
    "proxy": About(
        "An HTTP proxy for all requests to remotes. It is trusted: it decides which addresses it reaches.",
        "http://proxy.internal:3128",
        "none",
    ),
    "log_level": About("debug, info, warning, error or critical.", "debug"),
    "workers": About("Worker processes of tidegate up; at most 2 on SQLite.", "4"),
    "slices": About(
        "Syncs that one worker process works on at once, 1 to 500, and half as many of named records.",
        "20",
    ),
    "host_requests": About(
        "Requests under way at one host at most, over all workers, 1 to 100; one place more is for named "
        "records. An adapter's own limit holds where it is lower.",
        "3",
        "the adapter's own limit",
    ),
    "host_rate": About(
        "Requests a second to one host at most, over all workers, 0.1 to 1000; they are evenly apart.",
        "5",
        "no such limit",
    ),
    "keep_tombstones": About(
        "Days for which records that are gone at the remote stay in the copy, marked as gone; at least 7.",
        "365",
        "for ever",
    ),
    "keep_events": About(
        "Days for which published events can be replayed and the log of webhooks out is kept; 4 to 90.", "14"
    ),
    "keep_syncs": About(
        "Days for which syncs that ended are kept, besides the last of each connection; 1 to 3650.", "30"
    ),
    "keep_deliveries": About(
        "Days for which a webhook that comes in once more is recognised; 4 to 90.", "14"
    ),
    "keep_audit": About("Days for which entries of the audit log are kept; 30 to 3650.", "1000"),
    "keep_debug_log": About("Days for which lines of debug logs are kept; 1 to 30.", "2"),
    "keep_quarantine": About(
        "Days for which what will never be read stays in quarantine: of removed connections and of records "
        "that are gone; 1 to 365.",
        "7",
    ),
    "migrate": About(
        "Whether a start brings an older database to the shape of its version. With no, processes wait until "
        "tidegate migrate has done so.",
        "no",
        "yes",
    ),
}

#: Every form that a frequency may have, with what it means.
FREQUENCIES: tuple[tuple[str, str], ...] = (
    ("manually", "Only when asked."),
    ("hourly", "Once an hour. The default."),
    ("daily", "Once a day."),
    ("weekly", "Once a week."),
    ("monthly", "Once in each calendar month of the time zone."),
    ("every 15m", "An interval in minutes (m), hours (h) or days (d), from 1 minute to 31 days."),
    ("daily at 02:30", "At this time of the time zone."),
    ("weekly on monday at 02:30", "On this day, at this time of the time zone."),
    ("0 6 * * 1-5", "Cron with five fields: minute, hour, day of month, month, day of week."),
)
