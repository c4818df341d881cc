package admin

import (
	"context"
	"fmt"
	"strings"

	"pgdrover/internal/config"
)

// settingCommands are SET, ALTER … SET and RESET.
func settingCommands() []*command {
	return []*command{
		{
			syntax: []string{"SET <setting> { = | TO } <value...>", "SET { SESSION | LOCAL } <setting> { = | TO } <value...>"}, perm: permAdmin, logged: true,
			help: "change a setting of the running process, until the next RELOAD (some, as in PgBouncer, until the file names them)",
			run:  runSet,
			permFor: func(s *session, a args) permission {
				if setsNothing(s, a) {
					return permStats
				}
				return permAdmin
			},
		},
		{
			syntax: []string{"ALTER SYSTEM SET <setting> { = | TO } <value...>"}, perm: permAdmin, logged: true,
			help: "change a setting, and keep it in config.auto.toml",
			run: alter(func(s *session, _, name string, value *string) error {
				return s.srv.cfg.AlterSystem(name, value)
			}, ""),
		},
		{
			syntax: []string{"ALTER SYSTEM RESET { ALL | <setting> }"}, perm: permAdmin, logged: true,
			help: "remove it from there",
			run: alter(func(s *session, _, name string, value *string) error {
				return s.srv.cfg.AlterSystem(name, value)
			}, ""),
		},
		{
			syntax: []string{"ALTER DATABASE <database> SET <setting> { = | TO } <value...>"}, perm: permAdmin, logged: true,
			help: "change a setting of a database, and keep it in config.auto.toml",
			run: alter(func(s *session, object, name string, value *string) error {
				return s.srv.cfg.AlterDatabase(object, name, value)
			}, "database"),
		},
		{
			syntax: []string{"ALTER DATABASE <database> RESET { ALL | <setting> }"}, perm: permAdmin, logged: true,
			help: "remove it from there",
			run: alter(func(s *session, object, name string, value *string) error {
				return s.srv.cfg.AlterDatabase(object, name, value)
			}, "database"),
		},
		{
			syntax: []string{"ALTER { USER | ROLE } <user> SET <setting> { = | TO } <value...>"}, perm: permAdmin, logged: true,
			help: "change a setting of a user, and keep it in config.auto.toml",
			run: alter(func(s *session, object, name string, value *string) error {
				return s.srv.cfg.AlterUser(object, name, value)
			}, "user"),
		},
		{
			syntax: []string{"ALTER { USER | ROLE } <user> RESET { ALL | <setting> }"}, perm: permAdmin, logged: true,
			help: "remove it from there",
			run: alter(func(s *session, object, name string, value *string) error {
				return s.srv.cfg.AlterUser(object, name, value)
			}, "user"),
		},
	}
}

// setsNothing reports whether SET is of a setting of PostgreSQL's that drivers set on every connection.
func setsNothing(s *session, a args) bool {
	name := strings.ToLower(a["setting"])
	if _, ours := s.srv.cfg.Origins()[name]; ours {
		return false
	}
	_, known := driverSetting(s, name)
	return known
}

func runSet(_ context.Context, s *session, a args) (*result, error) {
	if setsNothing(s, a) {
		return setIgnored()
	}
	name, value := strings.ToLower(a["setting"]), a["value"]
	if err := s.srv.cfg.Set(name, value); err != nil {
		return nil, withSettings(settingError("SET failed", err))
	}
	return tagged(fmt.Sprintf("SET %s=%s", name, oneLine(masked(name, value))))
}

// settingError keeps PgBouncer's words and adds why.
func settingError(msg string, err error) *pgError {
	pe := errf(codeProtocol, "%s", msg)
	pe.detail = err.Error()
	return pe
}

// withSettings adds where global settings are listed.
func withSettings(pe *pgError) error {
	return pe.withHint("SHOW CONFIG lists the settings and their values.")
}

func setIgnored() (*result, error) {
	return &result{tag: "SET", notices: []notice{{severity: "NOTICE", code: "00000", msg: "SET ignored"}}}, nil
}

// alter makes a handler for ALTER … SET and RESET. label names the capture that holds the object.
func alter(do func(s *session, object, name string, value *string) error, label string) func(context.Context, *session, args) (*result, error) {
	tag := "ALTER " + strings.ToUpper(label)
	if label == "" {
		tag = "ALTER SYSTEM"
	}
	return func(_ context.Context, s *session, a args) (*result, error) {
		name := strings.ToLower(a["setting"])
		var value *string
		if v, ok := a["value"]; ok {
			value = &v
		} else if name == "" || a.has("ALL") {
			name = "ALL"
		}
		if err := do(s, a[label], name, value); err != nil {
			pe := settingError(tag+" failed", err)
			if label == "" {
				return nil, withSettings(pe)
			}
			return nil, pe
		}
		return tagged(tag)
	}
}

// masked hides the value of a setting that may hold a secret.
func masked(name, value string) string {
	if config.IsSecret(name) && value != "" {
		return "****"
	}
	for _, part := range []string{"password", "secret", "ldap_options", "token", "connect_query", "private"} {
		if strings.Contains(name, part) && value != "" && !strings.HasSuffix(name, "_file") && !strings.HasSuffix(name, "_env") {
			return "****"
		}
	}
	return value
}
