package admin

import (
	"context"
	"strings"
)

// sessionCommands are what drivers and psql send by themselves. They act on this session alone and have no
// line in SHOW HELP.
func sessionCommands() []*command {
	tag := func(t string) func(context.Context, *session, args) (*result, error) {
		return func(context.Context, *session, args) (*result, error) { return tagged(t) }
	}
	return []*command{
		{syntax: []string{"BEGIN [ <rest...> ]", "START TRANSACTION [ <rest...> ]"}, run: func(_ context.Context, s *session, a args) (*result, error) {
			r := &result{tag: "BEGIN"}
			if a.has("START") {
				r.tag = "START TRANSACTION"
			}
			if s.inTx {
				r.notices = []notice{{severity: "WARNING", code: codeInTransaction, msg: "there is already a transaction in progress"}}
			}
			s.inTx, s.acted = true, false
			return r, nil
		}},
		{syntax: []string{"COMMIT [ <rest...> ]", "END [ <rest...> ]"}, run: func(_ context.Context, s *session, _ args) (*result, error) {
			r := &result{tag: "COMMIT"}
			s.endTx(r)
			return r, nil
		}},
		{syntax: []string{"ROLLBACK TO [ SAVEPOINT ] <savepoint>"}, run: tag("ROLLBACK")},
		{syntax: []string{"ROLLBACK [ <rest...> ]", "ABORT [ <rest...> ]"}, run: func(_ context.Context, s *session, _ args) (*result, error) {
			r := &result{tag: "ROLLBACK"}
			if s.inTx && s.acted {
				r.notices = append(r.notices, notice{
					severity: "WARNING", code: codeInTransaction, msg: "commands of the admin database cannot be rolled back",
					detail: "What they did stays done.",
				})
			}
			s.endTx(r)
			return r, nil
		}},
		{syntax: []string{"SAVEPOINT <savepoint>"}, run: tag("SAVEPOINT")},
		{syntax: []string{"RELEASE [ SAVEPOINT ] <savepoint>"}, run: tag("RELEASE")},
		{syntax: []string{"DISCARD { ALL | PLANS | SEQUENCES | TEMP | TEMPORARY }"}, run: func(_ context.Context, s *session, a args) (*result, error) {
			if a.has("ALL") {
				s.statements.clear()
				return tagged("DISCARD ALL")
			}
			return tagged("DISCARD")
		}},
		{syntax: []string{"DEALLOCATE [ PREPARE ] { ALL | <name> }"}, run: func(_ context.Context, s *session, a args) (*result, error) {
			name, named := a["name"]
			if !named || strings.EqualFold(name, "all") {
				s.statements.clear()
				return tagged("DEALLOCATE ALL")
			}
			if !s.statements.remove(name) {
				return nil, errNoStatement(name)
			}
			return tagged("DEALLOCATE")
		}},
		{syntax: []string{"CLOSE ALL"}, run: tag("CLOSE CURSOR ALL")},
		{syntax: []string{"UNLISTEN *", "UNLISTEN <channel>"}, run: tag("UNLISTEN")},
		{syntax: []string{"RESET ALL", "RESET { SESSION AUTHORIZATION | ROLE }"}, run: tag("RESET")},
		{syntax: []string{"RESET <setting>"}, run: func(_ context.Context, s *session, a args) (*result, error) {
			if _, ok := driverSetting(s, strings.ToLower(a["setting"])); ok {
				return tagged("RESET")
			}
			return nil, errInvalidCommand("RESET " + a["setting"]).
				withHint("ALTER SYSTEM RESET <setting> takes a value back that ALTER SYSTEM SET has set; RELOAD takes back what SET has set.")
		}},
		{
			syntax: []string{
				"SET [ SESSION | LOCAL ] TIME ZONE <rest...>", "SET [ SESSION | LOCAL ] NAMES <rest...>",
				"SET SESSION CHARACTERISTICS AS TRANSACTION <rest...>", "SET TRANSACTION <rest...>",
			},
			run: func(context.Context, *session, args) (*result, error) { return setIgnored() },
		},
	}
}

// endTx leaves the transaction block.
func (s *session) endTx(r *result) {
	if !s.inTx {
		r.notices = append(r.notices, notice{severity: "WARNING", code: codeNoTransaction, msg: "there is no transaction in progress"})
	}
	s.inTx, s.acted = false, false
}

// driverSetting is what SHOW says of the settings of PostgreSQL that drivers ask for or set. SET of them
// has no effect.
func driverSetting(s *session, name string) (string, bool) {
	switch name {
	case "client_encoding":
		return "UTF-8", true // PgBouncer's spelling
	case "server_encoding":
		return "UTF8", true
	case "default_transaction_isolation", "transaction_isolation":
		return "read committed", true
	case "standard_conforming_strings", "integer_datetimes", "is_superuser", "escape_string_warning", "row_security":
		return "on", true
	case "default_transaction_read_only", "transaction_read_only", "in_hot_standby", "default_transaction_deferrable", "jit", "synchronous_commit":
		return "off", true
	case "datestyle":
		return "ISO", true
	case "timezone":
		return "GMT", true
	case "intervalstyle":
		return "postgres", true
	case "bytea_output":
		return "hex", true
	case "client_min_messages":
		return "notice", true
	case "extra_float_digits":
		return "1", true
	case "max_identifier_length":
		return "63", true
	case "max_index_keys":
		return "32", true
	case "lc_collate", "lc_ctype", "lc_messages":
		return "C", true
	case "server_version":
		return serverVersion, true
	case "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout":
		return "0", true
	case "search_path":
		return `"$user", public`, true
	case "session_authorization":
		return s.client.User, true
	case "application_name":
		return s.client.Parameters["application_name"], true
	}
	return "", false
}

// serverVersion is what the login says, and has to go on being said.
const serverVersion = compatible + "/bouncer"
