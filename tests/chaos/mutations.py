"""The guards, each switched off in a copy of the tree: at least one named test must then fail.

python -m tests.chaos.mutations [WORD ...]     those whose name has one of the words; else all
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.tree import ROOT, files


class Mutation(msgspec.Struct, frozen=True):
    """In `file`, `old` becomes `new`, and then `test` fails."""

    name: str
    file: str
    old: str
    new: str
    test: str


_PAGES = "tests/integration/test_store_pages.py"
_BLAME = "tests/integration/test_blame.py"
_CLAIM = "tests/integration/test_claim.py"
_RELAY = "tests/integration/test_relay.py"
_QUEUE = "tests/integration/test_queue.py"
_DOOR = "tests/integration/test_door.py::test_the_database_itself_holds_a_lane_to_one_open_and_one_queued"
MODEL = "tests/model/test_model.py::test_the_core_does_what_the_model_says"

MUTATIONS: Sequence[Mutation] = (
    Mutation(
        "fence check",
        "store/claims.py",
        'syncs.c.fence == bindparam("mine"),',
        'syncs.c.fence >= bindparam("mine"),',
        f"{_PAGES}::test_a_page_of_an_older_fence_is_refused",
    ),
    Mutation(
        "clocks of machines that differ",
        "worker/queue.py",
        "_CLOCKS_DIFFER_MS = 24 * 3600 * 1000",
        "_CLOCKS_DIFFER_MS = 0",
        f"{_QUEUE}::test_jobs_stand_in_the_line_as_they_were_rung_and_are_due_for_a_clock_that_is_hours_behind",
    ),
    Mutation(
        "Redis that drops keys",
        "tidegate/compose.py",
        "        await refuse_dropping(settings.redis_url.reveal())\n",
        "",
        "tests/integration/test_redis_policy.py::test_no_process_starts_with_a_redis_that_drops_keys",
    ),
    Mutation(
        "fence check, by the model",
        "store/claims.py",
        'syncs.c.fence == bindparam("mine"),',
        'syncs.c.fence >= bindparam("mine"),',
        MODEL,
    ),
    Mutation(
        "lease of who commits",
        "store/claims.py",
        "        syncs.c.lease_until > now(),\n    )\n    .values(",
        "    )\n    .values(",
        f"{_PAGES}::test_a_page_after_the_lease_ran_out_is_refused_though_nobody_took_over",
    ),
    Mutation(
        "lease of who commits, by the model",
        "store/claims.py",
        "        syncs.c.lease_until > now(),\n    )\n    .values(",
        "    )\n    .values(",
        MODEL,
    ),
    Mutation(
        "lease against claims",
        "store/claims.py",
        "or_(syncs.c.lease_until.is_(None), syncs.c.lease_until <= now()),",
        "",
        f"{_CLAIM}::test_what_is_held_cannot_be_claimed_until_its_lease_has_ended",
    ),
    Mutation(
        "lease renewal",
        "store/claims.py",
        "await connection.execute(kept.values(lease_until=now(LEASE_SECONDS)))",
        "await connection.execute(kept.values(lease_until=c.lease_until))",
        f"{_CLAIM}::test_a_lease_that_is_renewed_stays_and_one_that_ran_out_is_not_revived",
    ),
    Mutation(
        "a slice that a server failed gives its sync back",
        "worker/lease.py",
        "await claims.let_go(connection, sync, owner)",
        "pass",
        f"{_BLAME}::test_a_database_that_fails_in_every_slice_suspends_nobody",
    ),
    Mutation(
        "a failure of the database is no crash",
        "store/crashes.py",
        "if shaken or ",
        "if ",
        f"{_BLAME}::test_nobody_counts_right_after_the_database_failed_all",
    ),
    Mutation(
        "suspects one at a time",
        "store/claims.py",
        "and await crashes.has_a_suspect(connection, owner):",
        "and False:",
        f"{_BLAME}::test_syncs_on_their_last_chance_are_read_one_at_a_time_in_each_process",
    ),
    Mutation(
        "crash count",
        "store/claims.py",
        "    if crashed >= CRASHES_ALLOWED:\n        why = ",
        "    if crashed > 1_000:\n        why = ",
        f"{_CLAIM}::test_the_third_claim_in_a_row_that_died_without_a_page_suspends_the_connection",
    ),
    Mutation(
        "one page, one transaction",
        "store/records.py",
        "        await _write(connection, to, part, prepared, sums, when)\n",
        "        await _write(connection, to, part, prepared, sums, when)\n"
        '        await connection.exec_driver_sql("COMMIT")\n'
        '        await connection.exec_driver_sql("BEGIN IMMEDIATE")\n',
        f"{_PAGES}::test_a_failure_in_the_middle_leaves_nothing",
    ),
    Mutation(
        "cursor with the page",
        "store/records.py",
        "and page.cursor != part.cursor:\n        await parts.keep_cursor",
        "and page.cursor == part.cursor:\n        await parts.keep_cursor",
        f"{_PAGES}::test_a_page_brings_records_cursor_and_counters_at_once",
    ),
    Mutation(
        "cursor with the page, by the model",
        "store/records.py",
        "and page.cursor != part.cursor:\n        await parts.keep_cursor",
        "and page.cursor == part.cursor:\n        await parts.keep_cursor",
        MODEL,
    ),
    Mutation(
        "no lower version over a higher one",
        "store/rows.py",
        "    if ahead is not None:\n        return not ahead\n",
        "",
        "tests/integration/test_rows.py",
    ),
    Mutation(
        "one open sync per lane",
        "store/schema.py",
        '        "syncs_one_open",\n        "connection_id",\n        "lane",\n        unique=True,',
        '        "syncs_one_open",\n        "connection_id",\n        "lane",\n        unique=False,',
        _DOOR,
    ),
    Mutation(
        "one queued sync per lane",
        "store/schema.py",
        '        "syncs_one_queued",\n        "connection_id",\n        "lane",\n        unique=True,',
        '        "syncs_one_queued",\n        "connection_id",\n        "lane",\n        unique=False,',
        _DOOR,
    ),
    Mutation(
        "due by compare-and-set",
        "scheduler/due.py",
        'if row is None or row["next_due_at"] != due.next_due_at:',
        "if row is None:",
        "tests/integration/test_due.py::test_two_schedulers_side_by_side_fire_each_due_time_once",
    ),
    Mutation(
        "what is told goes with what happened",
        "store/syncs.py",
        "    await end(connection, sync.id, state, at, values)\n    await tell(connection, sync.id, at)\n",
        "    await end(connection, sync.id, state, at, values)\n",
        MODEL,
    ),
    Mutation(
        "outbox: sent only when Redis has it",
        "events/relay.py",
        'if "equal or smaller" not in str(e):\n                    raise',
        'if "equal or smaller" not in str(e):\n                    pass',
        f"{_RELAY}::test_what_was_numbered_but_not_sent_is_sent_though_nothing_is_new",
    ),
    Mutation(
        "the relay's fence",
        "store/outbox.py",
        "where(c.name == RELAY, c.fence == fence, c.lease_until > now())",
        "where(c.name == RELAY)",
        f"{_RELAY}::test_one_relay_works_and_another_takes_over_when_its_lease_ends",
    ),
    Mutation(
        "a trigger is acknowledged after its sync",
        "scheduler/triggers.py",
        "        passed(Step.TRIGGER_READ)\n",
        "        await self._redis.xack(STREAM, GROUP, number)\n        passed(Step.TRIGGER_READ)\n",
        "tests/integration/test_triggers.py::test_a_trigger_that_the_database_could_not_take_is_taken_later",
    ),
    Mutation(
        "deliveries are taken once",
        "store/deliveries.py",
        "new = set(uids) - set((await connection.execute(known)).scalars())",
        "new = set(uids) if await connection.execute(known) else set()",
        "tests/integration/test_api_hooks.py::test_the_same_delivery_again_opens_nothing",
    ),
    Mutation(
        "comparing in constant time",
        "adapters/senders.py",
        "hmac.compare_digest(shown, expected)",
        "shown == expected",
        "tests/unit/test_constant_time.py",
    ),
    Mutation(
        "a signature is looked at",
        "adapters/jira/hooks.py",
        "return bool(secret) and hmac.compare_digest(",
        "return bool(secret) or hmac.compare_digest(",
        "tests/unit/test_jira_hooks.py::test_another_secret_is_not_believed",
    ),
    Mutation(
        "address guard",
        "adapters/guard.py",
        "if not self.permits(str(address[0])):",
        "if not self.permits(str(address[0])) and kind is None:",
        "tests/unit/test_guard.py::test_no_name_of_the_own_machine_is_dialled",
    ),
    Mutation(
        "redirects to elsewhere",
        "adapters/http.py",
        "allow_redirects=False,",
        "allow_redirects=True,",
        "tests/unit/test_http_redirects.py::test_a_redirect_to_another_port_is_never_followed",
    ),
    Mutation(
        "size cap",
        "adapters/http.py",
        "                if size > most:\n                    break\n",
        "",
        "tests/unit/test_http_broken.py::test_a_body_without_length_is_cut_at_the_limit",
    ),
    Mutation(
        "secrets are bound to their place",
        "config/vault.py",
        'return f"v1.{key_id}\\n{place}".encode()',
        'return f"v1.{key_id}\\n".encode()',
        "tests/unit/test_vault.py::test_a_secret_moved_to_another_row_does_not_open",
    ),
    Mutation(
        "keys see their projects only",
        "api/access.py",
        "return self.projects is None or project_id in self.projects",
        "return True",
        "tests/integration/test_api_projects_of_keys.py::test_connections_of_others_cannot_be_changed",
    ),
    Mutation(
        "lists show what belongs to a key",
        "api/access.py",
        "return () if self.projects is None else (project_id.in_(sorted(self.projects)),)",
        "return ()",
        "tests/integration/test_api_projects_of_keys.py::test_lists_show_what_belongs_to_its_projects",
    ),
    Mutation(
        "what vanishes at once is asked about",
        "worker/census.py",
        "if _suspicious(told) and not work.sync.accept_loss:",
        "if _suspicious(told) and work.sync.accept_loss:",
        "tests/integration/test_census.py::test_too_large_a_share_does_not_vanish_at_once",
    ),
    Mutation(
        "a proof that is sent twice",
        "api/hooks.py",
        '", ".join(told.getall(name))',
        "told.getall(name)[-1]",
        "tests/integration/test_forged_webhooks.py::test_what_is_not_signed_as_agreed_is_401_and_opens_nothing",
    ),
    Mutation(
        "readers that take nothing",
        "api/live.py",
        "request.transport.abort()",
        "pass",
        "tests/integration/test_api_slow_readers.py",
    ),
    Mutation(
        "pace of tests",
        "api/pace.py",
        "if left.count < 1:",
        "if left.count < -1_000:",
        "tests/integration/test_api_pace.py::test_a_hundred_tests_in_a_second_are_429_for_most",
    ),
    Mutation(
        "secrets that are encoded in part",
        "config/logs.py",
        "if further == plain:",
        "if True:",
        "tests/unit/test_logs.py::test_a_secret_of_which_some_characters_are_encoded_is_masked_whole",
    ),
)


async def _run(folder: Path, test: str) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", test),
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await child.communicate()
    return child.returncode or 0, out.decode(errors="replace")


def mutate(folder: Path, one: Mutation) -> str:
    """Change the file in the copy; what it was before."""
    path = folder / one.file
    before = path.read_text("utf-8")
    assert before.count(one.old) == 1, f"{one.name}: found {before.count(one.old)} times in {one.file}"
    path.write_text(before.replace(one.old, one.new), "utf-8")
    return before


def copy_to(folder: Path) -> None:
    """The tree as it is, without what was made from it."""
    for path in files():
        to = folder / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)


async def prove(folder: Path, one: Mutation) -> bool:
    """Whether the test fails with the guard switched off, and for no other reason."""
    began = time.monotonic()
    before = mutate(folder, one)
    code, said = await _run(folder, one.test)
    (folder / one.file).write_text(before, "utf-8")
    red = code == 1 and ("failed" in said or "error" in said)
    if red:
        # The same test is green with the guard in its place.
        code, said = await _run(folder, one.test)
    proven = red and code == 0
    seconds = time.monotonic() - began
    _say(f"{'red' if proven else 'NOT RED'}  {one.name}  ({one.test}, {seconds:.0f} s)")
    if not proven:
        _say(said[-2000:])
    return proven


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(words: Sequence[str]) -> int:
    chosen = [one for one in MUTATIONS if not words or any(word in one.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="tidegate-mutations-") as name:
        folder = Path(name)
        copy_to(folder)
        proven = [await prove(folder, one) for one in chosen]
    _say(f"{sum(proven)} of {len(proven)} guards turn a test red when they are off")
    return 0 if all(proven) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
