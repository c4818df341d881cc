package catalog

import (
	"fmt"

	"pgdrover/internal/sqlparse"
)

// TwoPhaseSQL returns the SQL that lets the given application roles commit transactions over several shards, for a shard's
// superuser, to run in one transaction on every shard; it can be run again. recovery is the role that pgdrover logs in with to finish
// transactions that were interrupted; it is made if it is not there (without a password), and becomes a member of the applications'
// roles, because only the role that prepared a transaction may finish it. The server also needs max_prepared_transactions > 0, which
// takes effect at its start.
//
// The row of a transaction in pgdrover.decision is made by pgdrover.decide() in the transaction itself, on one of its shards: if that
// commits, all do. Recovery asks with an INSERT of its own, which waits for a transaction in flight, and finds the row, or puts its own
// in place and rolls back. Rows are removed by pgdrover.forget(), by the role that made them, or by recovery.
func TwoPhaseSQL(recovery string, applications []string) []string {
	sql := []string{
		schemaSQL,
		`CREATE TABLE IF NOT EXISTS pgdrover.decision (
  gid text PRIMARY KEY,
  participants text[] NOT NULL,
  owner text NOT NULL DEFAULT session_user,
  created timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())`,
		`REVOKE ALL ON pgdrover.decision FROM PUBLIC`,
		// A decision that is lost in a crash would undo half of a transaction, whatever synchronous_commit the application runs with.
		`CREATE OR REPLACE FUNCTION pgdrover.decide(gid text, participants text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
INSERT INTO pgdrover.decision (gid, participants, owner)
VALUES ($1, $2, coalesce(nullif(current_setting('role'), 'none'), session_user::text));
$$`,
		`CREATE OR REPLACE FUNCTION pgdrover.forget(gids text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DELETE FROM pgdrover.decision d
WHERE d.gid = ANY ($1) AND d.owner = coalesce(nullif(current_setting('role'), 'none'), session_user::text);
$$`,
		// For whom backends work, written by each pgdrover whose sessions wait, for all to find deadlocks. A row counts for as long as its backend
		// is in the transaction that it was in when the row was written.
		`CREATE UNLOGGED TABLE IF NOT EXISTS pgdrover.backend (pid int PRIMARY KEY, virtualxid text NOT NULL, session text NOT NULL)`,
		`REVOKE ALL ON pgdrover.backend FROM PUBLIC`,
		`CREATE OR REPLACE FUNCTION pgdrover.backends(pids int[], sessions text[]) RETURNS TABLE (pid int, session text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
LOCK TABLE pgdrover.backend IN SHARE ROW EXCLUSIVE MODE;
DELETE FROM pgdrover.backend b WHERE b.pid = ANY ($1)
OR NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.pid = b.pid AND l.virtualxid = b.virtualxid);
INSERT INTO pgdrover.backend SELECT l.pid, l.virtualxid, u.session FROM unnest($1, $2) AS u (pid, session)
JOIN pg_locks l ON l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.pid = u.pid WHERE u.session <> '';
SELECT b.pid, b.session FROM pgdrover.backend b;
$$`,
		`REVOKE ALL ON FUNCTION pgdrover.decide(text, text[]), pgdrover.forget(text[]), pgdrover.backends(int[], text[]) FROM PUBLIC`,
		fmt.Sprintf(`DO $pgdrover$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) %[1]s::pg_catalog.name) THEN
    EXECUTE pg_catalog.format('CREATE ROLE %%I LOGIN', %[1]s::pg_catalog.text);
  END IF;
END $pgdrover$`, sqlparse.QuoteLiteral(recovery)),
		`GRANT USAGE ON SCHEMA pgdrover TO ` + sqlparse.QuoteIdent(recovery),
		`GRANT SELECT, INSERT, DELETE ON pgdrover.decision TO ` + sqlparse.QuoteIdent(recovery),
		`GRANT EXECUTE ON FUNCTION pgdrover.backends(int[], text[]) TO ` + sqlparse.QuoteIdent(recovery),
	}
	for _, role := range applications {
		if role == recovery {
			continue
		}
		sql = append(sql,
			`GRANT USAGE ON SCHEMA pgdrover TO `+sqlparse.QuoteIdent(role),
			`GRANT EXECUTE ON FUNCTION pgdrover.decide(text, text[]), pgdrover.forget(text[]) TO `+sqlparse.QuoteIdent(role),
			`GRANT `+sqlparse.QuoteIdent(role)+` TO `+sqlparse.QuoteIdent(recovery),
		)
	}
	return sql
}

// TwoPhaseMissing is a query for a session of an application's role: a row of one text for each thing that committing in two
// phases lacks on this server. No row: nothing is missing.
const TwoPhaseMissing = `SELECT 'max_prepared_transactions is 0' AS missing WHERE pg_catalog.current_setting('max_prepared_transactions') OPERATOR(pg_catalog.=) '0'
UNION ALL SELECT 'function pgdrover.decide is not installed, or this role may not use it' WHERE NOT EXISTS (
SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgdrover' AND p.proname OPERATOR(pg_catalog.=) 'decide'
AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE'))`

// ProbeDecision is the statement by which recovery learns, in a transaction that it then rolls back, what became of the transaction
// with the gid $1: it waits for one in flight. One row changed: it did not commit, and now cannot have. None: it committed.
const ProbeDecision = `INSERT INTO pgdrover.decision (gid, participants) VALUES ($1, '{}') ON CONFLICT (gid) DO NOTHING`
