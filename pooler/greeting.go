package pooler

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"pgdrover/internal/config"
	"pgdrover/internal/connect"
)

// welcome returns what the servers of the pool report at login. The first client waits for a server to learn it.
func (c *client) welcome(in *entrance) ([]connect.Param, error) {
	pl := c.pool
	pl.mu.Lock()
	w := pl.welcome
	pl.mu.Unlock()
	if w != nil {
		return w, nil
	}
	s, err := c.takeAtLogin(in, false)
	var e *Error
	var f fatalError
	if err != nil && !errors.As(err, &f) && errors.As(err, &e) {
		e.Severity = "FATAL"
		return nil, fatalError{e}
	}
	if err != nil {
		return nil, err
	}
	w = s.sc.Params
	pl.free(s)
	return w, nil
}

// takeAtLogin takes a server for a client that has not logged in yet.
func (c *client) takeAtLogin(in *entrance, try bool) (s *server, err error) {
	t := now()
	err = c.atLogin(in, func() (err error) {
		s, _, err = c.takeServer(t, try)
		return err
	})
	return s, err
}

// atLogin runs f, which waits for a server on behalf of a client that has not logged in yet. A client that leaves meanwhile gives up its place in
// the queue, and client_login_timeout goes on counting.
func (c *client) atLogin(in *entrance, f func() error) error {
	defer c.unwatch()
	defer context.AfterFunc(in.ctx, func() {
		e := in.ended()
		if e.Message == loginTimeout {
			e.Message += " (server down)"
			e.Detail = strings.TrimSuffix(e.Detail, ".") + ", most of it waiting for a server connection."
		}
		c.kill(e)
	})()
	err := f()
	if err == nil && in.ctx.Err() != nil {
		in.end() // waiting has cleared the deadline
	}
	return err
}

// greeting is what every client of a pool with the same startup packet begins with.
type greeting struct {
	session session
	initial env // see client.initial
	app     string
	message []byte // AuthenticationOk and the ParameterStatus messages
}

// maxGreetings bounds how many a pool remembers.
const maxGreetings = 64

// hello builds everything from AuthenticationOk to ReadyForQuery, and sets what the session begins with.
func (c *client) hello(in *entrance, welcome []connect.Param) []byte {
	st, cfg := in.st, in.live.cfg
	g := c.greeting(st, welcome, cfg)
	c.session, c.initial = g.session, g.initial
	c.appName.Store(&g.app)
	c.cancelKey = c.p.newKey(c, st.minor)
	b := make([]byte, 0, len(in.unsaid)+len(g.message)+64)
	b = appendBackendKey(append(append(b, in.unsaid...), g.message...), c.cancelKey)
	if m := cfg.LoginNotifyMessage; m != "" {
		b = append(b, (&Error{Severity: "NOTICE", Code: "00000", Message: m}).message()...)
	}
	return appendReady(b, 'I')
}

// greeting returns the pool's greeting for these parameters, making it if need be.
func (c *client) greeting(st *startup, welcome []connect.Param, cfg *config.Config) *greeting {
	if cfg.ApplicationNameAddHost {
		return newGreeting(c.startupParams(st, cfg), welcome, c.p.extra) // hardly two are the same
	}
	pl := c.pool
	pl.mu.Lock()
	g := pl.greetings[st.text]
	pl.mu.Unlock()
	if g != nil && g.cfg == cfg && len(g.welcome) == len(welcome) && (len(welcome) == 0 || &g.welcome[0] == &welcome[0]) {
		return g.greeting
	}
	fresh := newGreeting(c.startupParams(st, cfg), welcome, c.p.extra)
	pl.mu.Lock()
	if pl.greetings == nil || len(pl.greetings) >= maxGreetings {
		pl.greetings = map[string]*knownGreeting{}
	}
	pl.greetings[st.text] = &knownGreeting{fresh, welcome, cfg}
	pl.mu.Unlock()
	return fresh
}

// startupParams returns what the client's startup packet sets, as the configuration lets it.
func (c *client) startupParams(st *startup, cfg *config.Config) []param {
	own := slices.DeleteFunc(slices.Clone(st.params), func(q param) bool {
		return slices.ContainsFunc(cfg.IgnoreStartupParameters, func(n string) bool { return strings.EqualFold(n, q.name) })
	})
	if !cfg.ApplicationNameAddHost {
		return own
	}
	app := "app"
	for _, q := range own {
		if strings.EqualFold(q.name, "application_name") && q.value != "" {
			app = q.value
		}
	}
	return append(own, param{"application_name", app + " - " + c.addr.String()})
}

// knownGreeting is a greeting with what it was made from, besides a startup packet.
type knownGreeting struct {
	*greeting
	welcome []connect.Param
	cfg     *config.Config
}

func newGreeting(own []param, welcome []connect.Param, extra []string) *greeting {
	var ps []param
	for _, w := range welcome {
		if isFollowing(w.Name, extra) {
			ps = append(ps, param{w.Name, w.Value})
		}
	}
	g := &greeting{message: []byte{'R', 0, 0, 0, 8, 0, 0, 0, 0}}
	for i, q := range own {
		if strings.EqualFold(q.name, "application_name") {
			g.app = q.value
		}
		for _, w := range welcome { // in the server's spelling, so that they are one
			if strings.EqualFold(w.Name, q.name) {
				own[i] = param{w.Name, asReported(w.Name, w.Value, q.value)}
			}
		}
	}
	g.session = newSession(makeEnv(append(ps, own...)))
	g.initial = makeEnv(slices.DeleteFunc(slices.Clone(own), func(q param) bool {
		return slices.Contains(welcome, connect.Param{Name: q.name, Value: q.value})
	}))
	for _, w := range welcome {
		v := w.Value
		if isFollowing(w.Name, extra) {
			if own, ok := envGet(g.session.all, w.Name); ok {
				v = own
			}
		}
		g.message = appendParameterStatus(g.message, w.Name, v)
	}
	return g
}

func appendBackendKey(b, key []byte) []byte {
	b = append(b, 'K')
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(key)))
	return append(b, key...)
}
