package pooler

import (
	"context"
	"os"
	"slices"
	"time"

	"pgdrover/internal/config"
)

// adminClient is a session on the admin database. It is served by an AdminServer; the pooler only lists and ends it.
type adminClient struct {
	*client
	session *AdminSession
	cancel  context.CancelCauseFunc // the cause is an *Error for the client to see, if it is to see one
	notify  chan struct{}
}

func (a *adminClient) cancelRequested() {
	select {
	case a.notify <- struct{}{}:
	default:
	}
}

func (a *adminClient) hungUp()   { a.cancel(errClientGone) }
func (a *adminClient) readable() {}

// adminParameters are what the admin database reports at login, PgBouncer's.
var adminParameters = [...]param{
	{"server_version", "1.25.2/bouncer"},
	{"client_encoding", "UTF8"},
	{"server_encoding", "UTF8"},
	{"DateStyle", "ISO"},
	{"TimeZone", "GMT"},
	{"standard_conforming_strings", "on"},
	{"is_superuser", "on"},
	{"integer_datetimes", "on"},
}

// serveAdmin serves a client of the admin database.
func (in *entrance) serveAdmin(c *client) error {
	p, nc, st, addr, cfg := in.p, in.nc, in.st, &in.addr, in.live.cfg
	own := st.user == "pgbouncer" && addr.unix && addr.uid == os.Getuid()
	isAdmin := func() bool { return own || slices.Contains(p.settings().AdminUsers, st.user) } // a reload may have changed it
	mayRead := isAdmin() || slices.Contains(cfg.StatsUsers, st.user) || cfg.AuthType == "any"
	if !mayRead || p.admin == nil {
		e := fatal("42501", "not allowed")
		e.Detail = "User \"" + st.user + "\" is in neither admin_users nor stats_users."
		return fatalError{e}
	}
	cn, err := newConn(nc)
	if err != nil {
		return fatalError{errProtocol("bouncer resources exhaustion")}
	}
	c.conn = cn
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	a := &adminClient{client: c, cancel: cancel, notify: make(chan struct{}, 1)}
	params := map[string]string{}
	b := append(in.unsaid, 'R', 0, 0, 0, 8, 0, 0, 0, 0)
	for _, q := range adminParameters {
		b = appendParameterStatus(b, q.name, q.value)
	}
	for _, q := range st.params {
		params[q.name] = q.value
		if q.name == "application_name" {
			c.appName.Store(&q.value)
			b = appendParameterStatus(b, q.name, q.value)
		}
	}
	c.cancelKey = p.newKey(a, st.minor)
	defer p.forgetKey(c.cancelKey)
	b = appendReady(appendBackendKey(b, c.cancelKey), 'I')
	a.session = &AdminSession{
		Conn: nc, ID: c.id, User: st.user, Admin: isAdmin, Addr: addr.String(), Database: st.database,
		Canceled: a.notify, Parameters: params,
	}
	_ = nc.SetDeadline(time.Time{})
	if _, err := nc.Write(b); err != nil {
		return errQuiet
	}
	c.state.Store(stateActive)
	p.mu.Lock()
	p.admins[c.id] = a
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.admins, c.id)
		p.mu.Unlock()
		p.changed()
	}()
	p.logLogin(c)
	err = p.admin.ServeAdmin(ctx, a.session)
	_ = nc.Close()
	p.logLogout(c, err)
	return nil
}

// adminDatabaseInfo and adminPoolInfo are the rows of the admin database itself, as PgBouncer lists it.
func (p *Pooler) adminDatabaseInfo(set *config.Settings) DatabaseInfo {
	return DatabaseInfo{
		Name: "pgbouncer", Port: set.ListenPort, Database: "pgbouncer", ForceUser: "pgbouncer", PoolSize: 2,
		PoolMode: "statement", CurrentClientConnections: p.adminCount(),
	}
}

func (p *Pooler) adminCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.admins)
}
