package pooler

import (
	"errors"
	"fmt"

	"pgdrover/internal/auth"
	"pgdrover/internal/connect"
)

// askUser looks a user up with auth_query, on a server of a pool like any other. ok says whether it was found.
func (in *entrance) askUser(c *client, d *database) (secret auth.Secret, ok bool, err error) {
	p, cfg := in.p, in.live.cfg
	authUser, authQuery, authDB := cfg.AuthUser, cfg.AuthQuery, cfg.AuthDBName
	if d != nil {
		conf := d.conf.Load()
		if conf.AuthUser != "" {
			authUser = conf.AuthUser
		}
		if conf.AuthQuery != "" {
			authQuery = conf.AuthQuery
		}
		if conf.AuthDBName != "" {
			authDB = conf.AuthDBName
		}
	}
	if authUser == "" || authQuery == "" {
		return auth.Secret{}, false, nil
	}
	on := d
	if authDB == "" {
		if d != nil {
			on, _ = p.findDatabase(d.name)
		}
	} else {
		var found bool
		if on, found = p.findDatabase(authDB); !found {
			return auth.Secret{}, false, fatalError{errProtocol("bouncer config error")}
		}
		if on.disabled.Load() {
			return auth.Secret{}, false, fatalError{errProtocol(fmt.Sprintf("authentication database %q is disabled", authDB))}
		}
	}
	if on == nil {
		return auth.Secret{}, false, nil
	}
	if c.conn, err = newConn(in.nc); err != nil {
		return auth.Secret{}, false, fatalError{errProtocol("bouncer resources exhaustion")}
	}
	c.pool = p.findPool(on, on.firstShard(), authUser, "none")
	rows, cols := 0, 0
	var password *string
	err = c.askAtLogin(in, extendedQuery(authQuery, in.st.user), func(typ byte, body []byte) error {
		if typ != 'D' {
			return nil
		}
		f, err := dataRow(body)
		if err != nil {
			return err
		}
		if rows++; rows == 1 {
			if cols = len(f); cols == 2 {
				password = f[1]
			}
		}
		return nil
	})
	var se *connect.ServerError
	switch {
	case errors.As(err, &se):
		p.log.Error().Err(err).Str("database", on.name).Msg("error in auth_query")
		return auth.Secret{}, false, fatalError{errProtocol("bouncer config error")}
	case err != nil:
		return auth.Secret{}, false, err
	case rows == 0:
		return auth.Secret{}, false, nil
	case cols != 2:
		p.log.Error().Str("database", on.name).Int("columns", cols).Msg("auth_query must return 2 columns")
		return auth.Secret{}, false, fatalError{errProtocol("bouncer config error")}
	}
	p.findUser(in.st.user).seen.Store(true)
	if password == nil {
		return auth.Secret{}, true, nil
	}
	secret = auth.ParseSecret(*password)
	return secret, true, nil
}

// askAtLogin runs a query of ours for a client that has not logged in yet. A connection that was idle and turns out to be broken is replaced.
func (c *client) askAtLogin(in *entrance, query []byte, each func(typ byte, body []byte) error) error {
	for began := now(); ; {
		s, err := c.takeAtLogin(in, true)
		if err != nil {
			return err
		}
		s.unOwner = 0
		var stop error
		err = c.atLogin(in, func() (err error) {
			stop, err = c.readying(s, now(), func() error { return s.exchange(query, syncTimeout, each) })
			return err
		})
		var se *connect.ServerError
		if err == nil || stop == nil && errors.As(err, &se) {
			s.pool.free(s)
			return err
		}
		s.close("auth_query failed: " + err.Error())
		switch {
		case stop != nil:
			return stop
		case s.createdAt >= began:
			e := fatal("08006", "auth_query failed")
			e.Detail = err.Error()
			return fatalError{e}
		}
	}
}
