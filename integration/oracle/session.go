package oracle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// exchangeTimeout is how long one exchange may take before it counts as a hang.
const exchangeTimeout = 20 * time.Second

// A result is the answer to one statement.
type result struct {
	columns []string // name, type and modifier, format
	rows    []string // cells in quotes
	tag     string
}

// An outcome is what came of one exchange.
type outcome struct {
	results   []result
	code      string // SQLSTATE; "lost" when the connection broke, "" without error
	err       error
	described []string // what Describe said of a prepared statement; nil if it was prepared before
	status    byte     // I, T or E
}

// A session is a connection with its prepared statements.
type session struct {
	dsn      string
	conn     *pgconn.PgConn
	prepared map[string]string // texts by name
	types    *pgtype.Map
}

func newSession(dsn string) *session { return &session{dsn: dsn, types: pgtype.NewMap()} }

// open connects anew if there is no connection.
func (s *session) open(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	conn, err := pgconn.Connect(ctx, s.dsn)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", s.dsn, err)
	}
	s.conn, s.prepared = conn, map[string]string{}
	return nil
}

func (s *session) close() {
	if s.conn != nil {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		_ = s.conn.Close(ctx)
		stop()
		s.conn = nil
	}
}

// run does one exchange: a step, or the steps of a pipeline.
func (s *session) run(ctx context.Context, steps []step) outcome {
	ctx, stop := context.WithTimeout(ctx, exchangeTimeout)
	defer stop()
	if err := s.open(ctx); err != nil {
		return outcome{code: "lost", err: err}
	}
	var o outcome
	switch {
	case len(steps) > 1:
		o = s.pipeline(ctx, steps)
	case steps[0].extended:
		o = s.extended(ctx, &steps[0])
	default:
		o = s.simple(ctx, steps[0].sql)
	}
	if o.err != nil {
		var pg *pgconn.PgError
		if errors.As(o.err, &pg) && !s.conn.IsClosed() {
			o.code = pg.Code
		} else {
			o.code = "lost"
			s.close()
			return o
		}
	}
	o.status = s.conn.TxStatus()
	return o
}

func (s *session) simple(ctx context.Context, sql string) outcome {
	var o outcome
	r := s.conn.Exec(ctx, sql)
	for r.NextResult() {
		o.add(r.ResultReader())
	}
	o.err = r.Close()
	return o
}

// add reads one result. Its error, if any, is reported by whoever is above the reader too.
func (o *outcome) add(r *pgconn.ResultReader) error {
	var res result
	fields := r.FieldDescriptions()
	for i := range fields {
		f := &fields[i]
		res.columns = append(res.columns, fmt.Sprintf("%s %d(%d) format %d", f.Name, f.DataTypeOID, f.TypeModifier, f.Format))
	}
	var b strings.Builder
	for r.NextRow() {
		b.Reset()
		for i, v := range r.Values() {
			if i > 0 {
				b.WriteString(", ")
			}
			if v == nil {
				b.WriteString("NULL")
			} else {
				fmt.Fprintf(&b, "%q", v)
			}
		}
		res.rows = append(res.rows, b.String())
	}
	tag, err := r.Close()
	if err != nil {
		return err
	}
	res.tag = tag.String()
	o.results = append(o.results, res)
	return nil
}

// bind collects what a Bind message has.
func (s *session) bind(st *step) (values [][]byte, types []uint32, formats, results []int16) {
	for i := range st.params {
		v, f := st.params[i].bytes(s.types)
		values, formats, types = append(values, v), append(formats, f), append(types, st.params[i].declared)
	}
	if st.binary {
		results = []int16{1}
	}
	return values, types, formats, results
}

func (s *session) extended(ctx context.Context, st *step) outcome {
	var o outcome
	values, types, formats, results := s.bind(st)
	if st.prepared == "" {
		o.err = o.add(s.conn.ExecParams(ctx, st.sql, values, types, formats, results))
		return o
	}
	if s.prepared[st.prepared] != st.sql {
		if s.prepared[st.prepared] != "" {
			if o.err = s.conn.Deallocate(ctx, st.prepared); o.err != nil {
				return o
			}
			delete(s.prepared, st.prepared)
		}
		d, err := s.conn.Prepare(ctx, st.prepared, st.sql, types)
		if err != nil {
			o.err = err
			return o
		}
		s.prepared[st.prepared] = st.sql
		o.described = []string{}
		for _, oid := range d.ParamOIDs {
			o.described = append(o.described, kindOf(oid))
		}
		for i := range d.Fields {
			o.described = append(o.described, fmt.Sprintf("%s %d(%d)", d.Fields[i].Name, d.Fields[i].DataTypeOID, d.Fields[i].TypeModifier))
		}
	}
	o.err = o.add(s.conn.ExecPrepared(ctx, st.prepared, values, formats, results))
	return o
}

func (s *session) pipeline(ctx context.Context, steps []step) outcome {
	var o outcome
	p := s.conn.StartPipeline(ctx)
	for i := range steps {
		values, types, formats, results := s.bind(&steps[i])
		p.SendQueryParams(steps[i].sql, values, types, formats, results)
	}
	err := p.Sync()
	for err == nil {
		var r any
		if r, err = p.GetResults(); err != nil {
			break
		}
		reader, ok := r.(*pgconn.ResultReader)
		if !ok {
			break // the Sync, or the end
		}
		err = o.add(reader)
	}
	o.err = err
	if err := p.Close(); o.err == nil {
		o.err = err
	}
	return o
}
