"""The one table of everything that this server answers."""

from typing import Any

from api import (
    audit,
    checks,
    connections,
    credentials,
    debug_log,
    docs,
    hooks,
    keys,
    listing,
    live,
    metrics,
    projects,
    records,
    sendings,
    state,
    subscriptions,
    syncs,
    webhooks,
)
from api.dialects import (
    accidental_quality,
    aha,
    flow,
    issue_tracker,
    issue_tracker_connectors,
    issue_tracker_trials,
    sd_elements,
)
from api.routing import Route

ROUTES: tuple[Route[Any, Any], ...] = (
    *state.ROUTES,
    *metrics.ROUTES,
    *docs.ROUTES,
    *projects.ROUTES,
    *credentials.ROUTES,
    # Before the connections: `test` is no id.
    *checks.ROUTES,
    *connections.ROUTES,
    *listing.ROUTES,
    *webhooks.ROUTES,
    *syncs.ROUTES,
    *debug_log.ROUTES,
    *records.ROUTES,
    *live.ROUTES,
    *subscriptions.ROUTES,
    *sendings.ROUTES,
    *hooks.ROUTES,
    *keys.ROUTES,
    *audit.ROUTES,
    # Other products' documents.
    *accidental_quality.ROUTES,
    *aha.ROUTES,
    *flow.ROUTES,
    *issue_tracker.ROUTES,
    *issue_tracker_trials.ROUTES,
    *issue_tracker_connectors.ROUTES,
    *sd_elements.ROUTES,
)
