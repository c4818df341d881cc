package pooler

import (
	"slices"
	"strings"
	"unique"
)

// env is the set of parameter values that a session has, or that a server's session is known to have: an interned
// list, so that the common question "does this server fit this client?" is one comparison.
// A name that is missing has the server's default.
type env = unique.Handle[string]

var noEnv = unique.Make("")

// param is one value of an env. Names are kept as they were first reported; they compare without case.
type param struct{ name, value string }

// following lists the parameters that follow a client from server to server: those that PostgreSQL reports and a
// session may change (PostgreSQL manual, "Asynchronous Operations" of the protocol; search_path since 18), and role,
// which decides who runs a statement.
var following = [...]string{
	"application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "IntervalStyle", "role",
	"scram_iterations", "search_path", "session_authorization", "standard_conforming_strings", "TimeZone",
}

// analysis lists the parameters that decide what a statement's text means when it is prepared.
var analysis = [...]string{
	"client_encoding", "DateStyle", "IntervalStyle", "role", "search_path", "session_authorization",
	"standard_conforming_strings", "TimeZone",
}

// unreported lists what PostgreSQL does not report (search_path: before 18) and has to be asked for after a SET.
var unreported = [...]string{"role", "search_path"}

func isAnalysis(name string) bool {
	return slices.ContainsFunc(analysis[:], func(n string) bool { return strings.EqualFold(n, name) })
}

func isFollowing(name string, extra []string) bool {
	eq := func(n string) bool { return strings.EqualFold(n, name) }
	return slices.ContainsFunc(following[:], eq) || slices.ContainsFunc(extra, eq)
}

// envParams lists the values of e, sorted by lower-cased name.
func envParams(e env) []param {
	s := e.Value()
	if s == "" {
		return nil
	}
	f := strings.Split(s, "\x00")
	ps := make([]param, 0, len(f)/2)
	for i := 0; i+1 < len(f); i += 2 {
		ps = append(ps, param{f[i], f[i+1]})
	}
	return ps
}

// makeEnv interns ps.
func makeEnv(ps []param) env {
	if len(ps) == 0 {
		return noEnv
	}
	ps = slices.Clone(ps)
	slices.SortStableFunc(ps, func(a, b param) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	var b strings.Builder
	for i, p := range ps {
		if i+1 < len(ps) && strings.EqualFold(p.name, ps[i+1].name) {
			continue // the last one counts
		}
		b.WriteString(p.name)
		b.WriteByte(0)
		b.WriteString(p.value)
		b.WriteByte(0)
	}
	return unique.Make(b.String())
}

func envGet(e env, name string) (string, bool) {
	for _, p := range envParams(e) {
		if strings.EqualFold(p.name, name) {
			return p.value, true
		}
	}
	return "", false
}

// envSet returns e with one value changed.
func envSet(e env, name, value string) env {
	ps := envParams(e)
	for i := range ps {
		if strings.EqualFold(ps[i].name, name) {
			if ps[i].value == value {
				return e
			}
			ps[i].value = value
			return makeEnv(ps)
		}
	}
	return makeEnv(append(ps, param{name, value}))
}

// envKeep returns the values of e whose names keep accepts.
func envKeep(e env, keep func(name string) bool) env {
	return makeEnv(slices.DeleteFunc(envParams(e), func(p param) bool { return !keep(p.name) }))
}

// session is an env with the part of it that prepared statements depend on.
type session struct {
	all  env
	stmt env
}

func newSession(e env) session { return session{all: e, stmt: envKeep(e, isAnalysis)} }

// set changes one value.
func (s *session) set(name, value string) {
	if e := envSet(s.all, name, value); e != s.all {
		s.all = e
		if isAnalysis(name) {
			s.stmt = envKeep(e, isAnalysis)
		}
	}
}

// envDiff tells what has to be set, and what put back to its default, to turn have into want.
func envDiff(have, want env) (set []param, reset []string) {
	h, w := envParams(have), envParams(want)
	for _, p := range w {
		i := slices.IndexFunc(h, func(q param) bool { return strings.EqualFold(p.name, q.name) })
		if i < 0 || h[i].value != p.value {
			set = append(set, p)
		}
	}
	for _, p := range h {
		if !slices.ContainsFunc(w, func(q param) bool { return strings.EqualFold(p.name, q.name) }) {
			reset = append(reset, p.name)
		}
	}
	return set, reset
}
