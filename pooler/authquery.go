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
	if authDB != "" {
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
	s, err := c.takeAtLogin(in)
	if err != nil {
		return auth.Secret{}, false, err
	}
	rows, cols := 0, 0
	var password *string
	s.unOwner = 0
	err = s.exchange(extendedQuery(authQuery, in.st.user), syncTimeout, func(typ byte, body []byte) error {
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
	case err == nil:
		c.pool.free(s)
	case errors.As(err, &se):
		c.pool.free(s)
	default:
		s.close("auth_query failed: " + err.Error())
	}
	switch {
	case err != nil:
		p.log.Error().Err(err).Str("database", on.name).Msg("error in auth_query")
		return auth.Secret{}, false, fatalError{errProtocol("bouncer config error")}
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
