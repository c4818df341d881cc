package admin

import (
	"context"
	"strconv"

	"pgdrover/internal/config"
	"pgdrover/pooler"
)

// processCommands are those that act on pools, clients, servers and the process.
func processCommands() []*command {
	// onDatabase makes a handler out of a method of pooler.Control. refusal is what PgBouncer says for its
	// admin database, before ": name".
	onDatabase := func(tag, refusal string, needed bool, do func(context.Context, pooler.Control, string) error) func(context.Context, *session, args) (*result, error) {
		return func(ctx context.Context, s *session, a args) (*result, error) {
			name := a["database"]
			switch {
			case name == "" && needed:
				return nil, errf(codeProtocol, "a database is required").withHint("SHOW DATABASES lists them.")
			case config.IsAdminDatabase(name):
				return nil, errf(codeProtocol, "%s: %s", refusal, name)
			}
			if err := do(ctx, s.srv.ctl, name); err != nil {
				return nil, err
			}
			return tagged(tag)
		}
	}
	return []*command{
		{
			syntax: []string{"RELOAD"}, perm: permAdmin, logged: true, waits: true,
			help: "read the configuration again: all of it, or nothing",
			run:  runReload,
		},
		{
			syntax: []string{"PAUSE [ <database> ]"}, perm: permAdmin, logged: true, waits: true,
			help: "hold new queries, and wait until all servers are released and closed",
			run: onDatabase("PAUSE", "cannot pause admin db", false, func(ctx context.Context, c pooler.Control, db string) error {
				return c.Pause(ctx, db)
			}),
		},
		{
			syntax: []string{"RESUME [ <database> ]"}, perm: permAdmin, logged: true,
			help: "end PAUSE or KILL",
			run: onDatabase("RESUME", "cannot resume admin db", false, func(_ context.Context, c pooler.Control, db string) error {
				return c.Resume(db)
			}),
		},
		{
			syntax: []string{"DISABLE [ <database> ]"}, perm: permAdmin, logged: true,
			help: "take no new clients of the database",
			run: onDatabase("DISABLE", "cannot disable admin db", true, func(_ context.Context, c pooler.Control, db string) error {
				return c.Disable(db)
			}),
		},
		{
			syntax: []string{"ENABLE [ <database> ]"}, perm: permAdmin, logged: true,
			help: "end DISABLE",
			run: onDatabase("ENABLE", "cannot enable admin db", true, func(_ context.Context, c pooler.Control, db string) error {
				return c.Enable(db)
			}),
		},
		{
			syntax: []string{"RECONNECT [ <database> ]"}, perm: permAdmin, logged: true,
			help: "replace each server when it is next released",
			run: onDatabase("RECONNECT", "cannot reconnect admin db", false, func(_ context.Context, c pooler.Control, db string) error {
				return c.Reconnect(db)
			}),
		},
		{
			syntax: []string{"WAIT_CLOSE [ <database> ]"}, perm: permAdmin, logged: true, waits: true,
			help: "wait until every server that RECONNECT or RELOAD marked is closed",
			run: onDatabase("WAIT_CLOSE", "cannot wait in admin db", false, func(ctx context.Context, c pooler.Control, db string) error {
				return c.WaitClose(ctx, db)
			}),
		},
		{
			syntax: []string{"KILL [ <database> ]"}, perm: permAdmin, logged: true,
			help: "close all clients and servers at once, and leave the database paused",
			run: onDatabase("KILL", "cannot kill admin db", false, func(_ context.Context, c pooler.Control, db string) error {
				return c.Kill(db)
			}),
		},
		{
			syntax: []string{"KILL_CLIENT [ <id> ]"}, perm: permAdmin, logged: true,
			help: "close one client; id as in SHOW CLIENTS",
			run:  runKillClient,
		},
		{
			syntax: []string{"SUSPEND"}, perm: permAdmin,
			run: func(context.Context, *session, args) (*result, error) {
				return nil, errf(codeNotSupported, "SUSPEND is not supported").withHint("PAUSE holds new queries as well.")
			},
		},
		{
			syntax: []string{"SHUTDOWN [ WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS ]"}, perm: permAdmin, logged: true,
			help: "stop: now, when transactions are over, or when clients have left",
			run: func(_ context.Context, s *session, a args) (*result, error) {
				mode := pooler.ShutdownNow
				switch {
				case a.has("WAIT_FOR_SERVERS"):
					mode = pooler.ShutdownWaitForServers
				case a.has("WAIT_FOR_CLIENTS"):
					mode = pooler.ShutdownWaitForClients
				}
				return &result{tag: "SHUTDOWN", after: func() { s.srv.ctl.Shutdown(mode) }}, nil
			},
		},
	}
}

func runReload(ctx context.Context, s *session, _ args) (*result, error) {
	if err := s.srv.cfg.Reload(ctx); err != nil {
		s.warned = s.srv.cfg.Status() // what follows says it already
		return nil, errf(codeConfig, "RELOAD failed, see logs for additional details").
			withDetail("%s", err).withHint("The configuration in force has not changed.")
	}
	return tagged("RELOAD")
}

func runKillClient(_ context.Context, s *session, a args) (*result, error) {
	if a["id"] == "" {
		return nil, errf(codeProtocol, "a client pointer is required").withHint("Column id of SHOW CLIENTS.")
	}
	id, err := strconv.ParseUint(a["id"], 10, 64)
	if err != nil {
		return nil, errf(codeProtocol, "invalid client pointer supplied").withHint("Give the number in column id of SHOW CLIENTS.")
	}
	if id <= idMask { // SHOW CLIENTS may have cut it
		for _, c := range s.srv.ctl.Clients() {
			if c.ID&idMask == id {
				id = c.ID
				break
			}
		}
	}
	if err := s.srv.ctl.KillClient(id); err != nil {
		return nil, err
	}
	return tagged("KILL_CLIENT")
}
