package pooler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgdrover/internal/connect"
)

// syncTimeout bounds the round trips that bring parameters from client to server and back.
const syncTimeout = 30 * time.Second

// setQuery sets parameters; values travel as parameters of the statement. A NULL value is RESET, which for role may mean one that
// ALTER ROLE … SET has chosen.
const setQuery = `SELECT pg_catalog.set_config(n, v, false) ` +
	`FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) WITH ORDINALITY t(n, v, o) ORDER BY o`

// roleDefault is the role that a session has without SET, which pg_settings does not tell: what ALTER ROLE and ALTER DATABASE say counts in
// the order of their manual pages.
const roleDefault = `coalesce((SELECT pg_catalog.substr(v, 6) FROM pg_catalog.pg_db_role_setting d, pg_catalog.unnest(d.setconfig) v ` +
	`WHERE pg_catalog.starts_with(v, 'role=') ` +
	`AND d.setrole OPERATOR(pg_catalog.=) ANY (SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user UNION ALL SELECT 0) ` +
	`AND d.setdatabase OPERATOR(pg_catalog.=) ANY (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database() UNION ALL SELECT 0) ` +
	`ORDER BY d.setrole OPERATOR(pg_catalog.=) 0, d.setdatabase OPERATOR(pg_catalog.=) 0 LIMIT 1), 'none')`

// askQuery reads parameters, and what they are without a SET.
const askQuery = `SELECT n, pg_catalog.current_setting(n, true), CASE pg_catalog.lower(n) WHEN 'role' THEN ` + roleDefault +
	` ELSE (SELECT reset_val FROM pg_catalog.pg_settings s WHERE pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) pg_catalog.lower(n)) END ` +
	`FROM pg_catalog.unnest($1::pg_catalog.text[]) n`

// applyParameters gives the linked server the client's parameters, in one round trip, for which the client has waited since t. A fatalError
// says that the server refuses a value and is otherwise well; any other error that the server is lost. stop is as of readying.
func (c *client) applyParameters(t int64) (stop, err error) {
	s := c.srv
	set, reset := envDiff(s.session.all, c.session.all)
	if len(set) == 0 && len(reset) == 0 {
		return nil, nil
	}
	differ := slices.Clone(reset) // of them an error tells, and not of the steps
	for _, p := range set {
		differ = append(differ, p.name)
	}
	names, values := c.steps(set, reset)
	s.unOwner = 0
	stop, err = c.readying(s, t, func() error { return s.exchange(query(setQuery, names, values), syncTimeout, nil) })
	var se *connect.ServerError
	if stop == nil && errors.As(err, &se) {
		return nil, fatalError{&Error{
			Severity: "FATAL", Code: se.Code(), Message: "invalid server parameter: " + se.Message(),
			Detail: fmt.Sprintf("The server does not accept this client's parameters (%s).", strings.Join(differ, ", ")),
			Hint:   se.Field('H'),
		}}
	}
	if err != nil {
		return stop, err
	}
	// What is reported has come as ParameterStatus, in the server's spelling; a report is missing where the value
	// was only spelled differently.
	for _, n := range reset {
		if !s.reports(n) {
			s.session = newSession(envKeep(s.session.all, func(k string) bool { return !strings.EqualFold(k, n) }))
		}
	}
	for _, p := range set {
		if !s.reports(p.name) {
			s.session.set(p.name, p.value)
		}
	}
	if s.session.all != c.session.all {
		return nil, c.adoptParameters()
	}
	return nil, nil
}

// steps puts the changes in order. The role comes last: what it may not do, the others still could. It is put back first.
func (c *client) steps(set []param, reset []string) (names []string, values []*string) {
	step := func(name string, value *string) { names, values = append(names, name), append(values, value) }
	slices.SortStableFunc(set, func(a, b param) int { return roleRank(a.name) - roleRank(b.name) })
	slices.SortStableFunc(reset, func(a, b string) int { return roleRank(b) - roleRank(a) })
	// What only a superuser may set; and session_authorization, which takes the role with it, even one that both have in force.
	privileged := func(name string) bool {
		return strings.EqualFold(name, "session_authorization") || roleRank(name) == 0 && !isFollowing(name, nil)
	}
	if !slices.ContainsFunc(set, func(p param) bool { return privileged(p.name) }) && !slices.ContainsFunc(reset, privileged) {
		for _, n := range reset {
			step(n, nil)
		}
		for i := range set {
			step(set[i].name, &set[i].value)
		}
		return names, values
	}
	// At connect a superuser sets such things himself, before any role that ALTER ROLE has chosen for him is in force.
	none := "none"
	step("session_authorization", nil) // which may bring that role back
	step("role", &none)
	for _, n := range reset {
		if roleRank(n) == 0 {
			step(n, nil)
		}
	}
	for i := range set {
		if roleRank(set[i].name) == 0 {
			step(set[i].name, &set[i].value)
		}
	}
	for _, n := range [...]string{"session_authorization", "role"} {
		if v, ok := envGet(c.session.all, n); ok {
			step(n, &v)
		} else if n == "role" {
			step(n, nil)
		}
	}
	return names, values
}

func roleRank(name string) int {
	switch {
	case strings.EqualFold(name, "session_authorization"):
		return 1
	case strings.EqualFold(name, "role"):
		return 2
	}
	return 0
}

// adoptParameters takes over the server's spelling of the client's values ("utc" becomes "UTC") and tells the client.
func (c *client) adoptParameters() error {
	s := c.srv
	var out []byte
	for _, p := range envParams(s.session.all) {
		v, ok := envGet(c.session.all, p.name)
		if ok && v != p.value && s.reports(p.name) {
			out = appendParameterStatus(out, p.name, p.value)
			c.noteParameter(p.name, p.value)
		}
	}
	c.session = s.session
	if len(out) == 0 {
		return nil
	}
	return clientWrite(c.conn.writeAll(out))
}

func clientWrite(err error) error {
	if err != nil {
		return clientError{err}
	}
	return nil
}

func appendParameterStatus(b []byte, name, value string) []byte {
	b = append(b, 'S')
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(name)+1+len(value)+1))
	b = append(b, name...)
	b = append(b, 0)
	b = append(b, value...)
	return append(b, 0)
}

// askParameters learns what a SET, RESET or set_config has done to parameters that the server does not report.
// The server is idle, so that a rolled-back SET is seen as such.
func (c *client) askParameters() error {
	s := c.srv
	c.dirty = false
	asks := s.asks
	for _, p := range envParams(c.initial) { // what was given at connect follows, too
		if !s.reports(p.name) && !slices.ContainsFunc(asks, func(a string) bool { return strings.EqualFold(a, p.name) }) {
			asks = append(asks[:len(asks):len(asks)], p.name)
		}
	}
	if c.router != nil {
		if err := c.askSession(); err != nil {
			return err
		}
	}
	if len(asks) == 0 {
		return nil
	}
	s.unOwner = 0
	type row struct{ name, value, def *string }
	var rows []row
	err := s.ask(query(askQuery, asks, nil), func(typ byte, body []byte) error {
		if typ != 'D' {
			return nil
		}
		f, err := dataRow(body)
		if err != nil || len(f) != 3 {
			return fmt.Errorf("%w: bad row", errOutOfStep)
		}
		rows = append(rows, row{f[0], f[1], f[2]})
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.name == nil || r.value == nil {
			continue
		}
		if r.def != nil && *r.def == *r.value && !(strings.EqualFold(*r.name, "role") && s.asAnother()) {
			drop := func(k string) bool { return !strings.EqualFold(k, *r.name) }
			s.session = newSession(envKeep(s.session.all, drop))
			c.session = newSession(envKeep(c.session.all, drop))
			continue
		}
		s.session.set(*r.name, *r.value)
		c.session.set(*r.name, *r.value)
	}
	return nil
}

// asAnother reports whether SET SESSION AUTHORIZATION is in force, so that the role's default is not the one of the user who has logged in.
func (s *server) asAnother() bool {
	is, _ := envGet(s.session.all, "session_authorization")
	was, _ := envGet(s.base, "session_authorization")
	return is != was
}

// reports reports whether the server sends ParameterStatus for name.
func (s *server) reports(name string) bool {
	_, ok := s.sc.Param(name)
	return ok
}

// query encodes setQuery or askQuery; values may be nil.
func query(sql string, names []string, values []*string) []byte {
	args := []string{textArray(len(names), func(i int) *string { return &names[i] })}
	if values != nil {
		args = append(args, textArray(len(values), func(i int) *string { return values[i] }))
	}
	return extendedQuery(sql, args...)
}

// extendedQuery encodes Parse, Bind, Execute, Close and Sync of an unnamed statement, with text parameters and results. It is closed because in
// session mode the client's messages pass as they are: it would be there for the client's own Describe or Bind.
func extendedQuery(sql string, args ...string) []byte {
	b := appendParseBody(nil, "", sql+"\x00\x00\x00")
	at := len(b)
	b = append(b, 'B', 0, 0, 0, 0, 0, 0, 0, 0) // no portal name, no statement name, no parameter formats
	b = binary.BigEndian.AppendUint16(b, uint16(len(args)))
	for _, a := range args {
		b = binary.BigEndian.AppendUint32(b, uint32(len(a)))
		b = append(b, a...)
	}
	b = append(b, 0, 0) // no result formats
	binary.BigEndian.PutUint32(b[at+1:], uint32(len(b)-at-1))
	b = append(b, 'E', 0, 0, 0, 9, 0, 0, 0, 0, 0)
	b = appendCloseStatement(b, "")
	return append(b, 'S', 0, 0, 0, 4)
}

// textArray writes an array in PostgreSQL's input syntax.
func textArray(n int, at func(int) *string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		v := at(i)
		if v == nil {
			b.WriteString("NULL")
			continue
		}
		b.WriteByte('"')
		for j := range len(*v) {
			if ch := (*v)[j]; ch == '"' || ch == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte((*v)[j])
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// dataRow splits a DataRow in text format; NULL is nil.
func dataRow(b []byte) ([]*string, error) {
	if len(b) < 2 {
		return nil, errOutOfStep
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	out := make([]*string, n)
	for i := range out {
		if len(b) < 4 {
			return nil, errOutOfStep
		}
		l := int32(binary.BigEndian.Uint32(b))
		b = b[4:]
		if l < 0 {
			continue
		}
		if int(l) > len(b) {
			return nil, errOutOfStep
		}
		v := string(b[:l])
		out[i], b = &v, b[l:]
	}
	return out, nil
}

// onlyValue takes a DataRow of one column apart; NULL is "".
func onlyValue(b []byte) (string, error) {
	f, err := dataRow(b)
	if err != nil || len(f) != 1 {
		return "", errOutOfStep
	}
	if f[0] == nil {
		return "", nil
	}
	return *f[0], nil
}
