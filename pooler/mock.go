package pooler

import (
	"pgdrover/internal/auth"
	"pgdrover/internal/config"
)

// mock is what users that do not exist are made to look like: the secrets that most users have, so that a login
// attempt does not tell one from the other.
type mock struct {
	kind       auth.Kind
	iterations int // of SCRAM; 0 is scram_iterations
}

// mockOf is worked out once for a configuration, over all of its users: it must not change from login to login.
func mockOf(cfg *config.Config) mock {
	kinds, iterations := map[auth.Kind]int{}, map[int]int{}
	for _, u := range cfg.Users {
		s := auth.ParseSecret(string(u.Password))
		kinds[s.Kind()]++
		if s.Kind() == auth.KindSCRAM {
			iterations[s.Iterations()]++
		}
	}
	m := mock{kind: auth.KindSCRAM}
	if cfg.AsksServers() {
		// Most users are PostgreSQL's, and its secrets are these unless it was told otherwise.
		m.iterations = auth.DefaultIterations
	} else {
		for _, k := range [...]auth.Kind{auth.KindPlain, auth.KindMD5} {
			if kinds[k] > kinds[m.kind] {
				m.kind = k
			}
		}
	}
	for i, n := range iterations {
		if best := iterations[m.iterations]; n > best || n == best && i < m.iterations {
			m.iterations = i
		}
	}
	return m
}
