package admin

import (
	"context"
	"strings"

	"github.com/jackc/pgproto3/v2"
)

// Bounds of one session's prepared statements and portals.
const (
	maxStatements     = 1000
	maxStatementBytes = 16 << 20
	maxPortals        = 1000
)

// prepared is a statement made by Parse. call is nil for an empty query.
type prepared struct {
	name   string
	text   string
	call   *call
	params []uint32 // types
	loose  []bool   // parameters whose type nothing tells: a text that is a number is taken as one
	cols   []column // told by Describe, and binding from then on; nil for none or not yet
}

// statements are a session's prepared statements by name.
type statements struct {
	byName map[string]*prepared
	bytes  int
}

func (t *statements) add(p *prepared) error {
	if t.byName == nil {
		t.byName = map[string]*prepared{}
	}
	if p.name == "" {
		t.remove("")
	} else if t.byName[p.name] != nil {
		return errf(codeDupStatement, "prepared statement \"%s\" already exists", p.name)
	}
	if len(t.byName) >= maxStatements || t.bytes+len(p.text) > maxStatementBytes {
		return errf(codeTooMuch, "too many prepared statements in the admin database").
			withHint("DEALLOCATE those that are not needed; %d statements and %d bytes are allowed.", maxStatements, maxStatementBytes)
	}
	t.byName[p.name] = p
	t.bytes += len(p.text)
	return nil
}

func (t *statements) remove(name string) bool {
	p := t.byName[name]
	if p == nil {
		return false
	}
	t.bytes -= len(p.text)
	delete(t.byName, name)
	return true
}

func (t *statements) clear() { *t = statements{} }

func errNoStatement(name string) *pgError {
	if name == "" {
		return errf(codeNoStatement, "unnamed prepared statement does not exist")
	}
	return errf(codeNoStatement, "prepared statement \"%s\" does not exist", name)
}

// portal is a statement with its parameters, and its result once it has run.
type portal struct {
	stmt    *prepared
	params  []any
	formats []int16
	result  *result // nil until it has run
	sent    int     // rows
	done    bool    // the command tag has been sent
}

func (s *session) parse(m *pgproto3.Parse) error {
	sts, err := split(m.Query)
	if err != nil {
		return err
	}
	if len(sts) > 1 {
		return errf(codeSyntax, "cannot insert multiple commands into a prepared statement")
	}
	p := &prepared{name: m.Name, text: m.Query}
	if len(sts) == 1 {
		if p.call, err = s.srv.set.find(sts[0]); err != nil {
			return err
		}
		if p.call.sel != nil {
			p.params, p.loose = p.call.sel.paramTypes(m.ParameterOIDs)
		}
	}
	if err := s.statements.add(p); err != nil {
		return err
	}
	return s.send(&pgproto3.ParseComplete{})
}

func (s *session) bind(m *pgproto3.Bind) error {
	p := s.statements.byName[m.PreparedStatement]
	if p == nil {
		return errNoStatement(m.PreparedStatement)
	}
	if n := len(m.ParameterFormatCodes); n > 1 && n != len(m.Parameters) {
		return errf(codeProtocol, "bind message has %d parameter formats but %d parameters", n, len(m.Parameters))
	}
	if len(m.Parameters) != len(p.params) {
		return errf(codeProtocol, "bind message supplies %d parameters, but prepared statement \"%s\" requires %d",
			len(m.Parameters), m.PreparedStatement, len(p.params))
	}
	if m.DestinationPortal != "" && s.portals[m.DestinationPortal] != nil {
		return errf(codeDupPortal, "cursor \"%s\" already exists", m.DestinationPortal)
	}
	if len(s.portals) >= maxPortals {
		return errf(codeTooMuch, "too many portals in the admin database").withHint("Close those that are not needed.")
	}
	o := &portal{stmt: p, formats: append([]int16(nil), m.ResultFormatCodes...)}
	for _, f := range o.formats {
		if f != 0 && f != 1 {
			return errf("22023", "unsupported format code: %d", f)
		}
	}
	for i, raw := range m.Parameters {
		v, err := decodeParam(s.types, p.params[i], format(m.ParameterFormatCodes, i), raw)
		if err != nil {
			return err
		}
		if text, ok := v.(string); ok && p.loose[i] {
			v = numberOr(text)
		}
		o.params = append(o.params, v)
	}
	s.portals[m.DestinationPortal] = o
	return s.send(&pgproto3.BindComplete{})
}

// format is the code for column or parameter i: none means text, one holds for all.
func format(codes []int16, i int) int16 {
	switch {
	case len(codes) == 1:
		return codes[0]
	case i < len(codes):
		return codes[i]
	}
	return 0
}

func (s *session) describe(ctx context.Context, m *pgproto3.Describe) error {
	if m.ObjectType == 'S' {
		return s.describeStatement(ctx, m.Name)
	}
	o := s.portals[m.Name]
	if o == nil {
		return errNoPortal(m.Name)
	}
	cols, err := s.portalColumns(ctx, o)
	if err != nil {
		return err
	}
	return s.sendColumns(cols, o.formats)
}

func (s *session) describeStatement(ctx context.Context, name string) error {
	p := s.statements.byName[name]
	if p == nil {
		return errNoStatement(name)
	}
	if p.call != nil && p.call.sel != nil && p.cols == nil {
		err := s.interruptible(ctx, func(ctx context.Context) (err error) {
			p.cols, err = s.describeSelect(ctx, p.call.sel, p.params)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := s.send(&pgproto3.ParameterDescription{ParameterOIDs: p.params}); err != nil {
		return err
	}
	return s.sendColumns(s.knownColumns(p), nil)
}

// knownColumns are the columns that can be told without running the statement.
func (s *session) knownColumns(p *prepared) []column {
	if p.cols != nil || p.call == nil || p.call.cmd == nil || p.call.cmd.columns == nil {
		return p.cols
	}
	return p.call.cmd.columns(s, p.call.args)
}

// portalColumns are the columns of a portal. A SELECT whose statement has not been described runs now,
// because its values decide the types.
func (s *session) portalColumns(ctx context.Context, o *portal) ([]column, error) {
	if o.result == nil && o.stmt.cols == nil && o.stmt.call != nil && o.stmt.call.sel != nil {
		if err := s.runPortal(ctx, o); err != nil {
			return nil, err
		}
	}
	cols := s.knownColumns(o.stmt)
	if o.result != nil {
		cols = o.result.cols
	}
	return cols, checkFormats(o, cols)
}

func checkFormats(o *portal, cols []column) error {
	if n := len(o.formats); n > 1 && n != len(cols) {
		return errf(codeProtocol, "bind message has %d result formats but query has %d columns", n, len(cols))
	}
	return nil
}

func (s *session) runPortal(ctx context.Context, o *portal) error {
	if err := s.warnOfConfig(); err != nil {
		return err
	}
	r, err := s.run(ctx, o.stmt.call, o.params, o.stmt.cols)
	if err != nil {
		return err
	}
	o.result = r
	return nil
}

func (s *session) sendColumns(cols []column, formats []int16) error {
	if cols == nil {
		return s.send(&pgproto3.NoData{})
	}
	return s.send(rowDescription(cols, formats))
}

func (s *session) execute(ctx context.Context, m *pgproto3.Execute) error {
	o := s.portals[m.Portal]
	if o == nil {
		return errNoPortal(m.Portal)
	}
	if o.stmt.call == nil {
		return s.send(&pgproto3.EmptyQueryResponse{})
	}
	if o.done && o.result.cols == nil {
		return errf("55000", "portal \"%s\" cannot be run anymore", m.Portal)
	}
	if o.result == nil {
		if err := s.runPortal(ctx, o); err != nil {
			return err
		}
	}
	r := o.result
	if err := checkFormats(o, r.cols); err != nil {
		return err
	}
	upTo := len(r.rows)
	if m.MaxRows > 0 && uint64(upTo-o.sent) > uint64(m.MaxRows) {
		upTo = o.sent + int(m.MaxRows)
	}
	first := o.sent
	for ; o.sent < upTo; o.sent++ {
		if err := s.sendRow(r.cols, o.formats, r.rows[o.sent]); err != nil {
			return err
		}
	}
	if o.sent < len(r.rows) {
		return s.send(&pgproto3.PortalSuspended{})
	}
	tag := *r
	if strings.HasPrefix(r.tag, "SELECT ") {
		tag.tag = selectTag(o.sent - first) // PostgreSQL counts the rows of this Execute
	}
	if o.done {
		tag.after = nil
	}
	o.done = true
	return s.complete(&tag)
}

func (s *session) close(m *pgproto3.Close) error {
	if m.ObjectType == 'S' {
		s.statements.remove(m.Name)
	} else {
		delete(s.portals, m.Name)
	}
	return s.send(&pgproto3.CloseComplete{})
}

func errNoPortal(name string) *pgError {
	return errf(codeNoPortal, "portal \"%s\" does not exist", name)
}
