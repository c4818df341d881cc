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

// exchangeTimeout is how long one exchange may take before it is given up; lateAfter is when somebody looks what it waits for, which must be
// done before the end.
const (
	exchangeTimeout = 40 * time.Second
	lateAfter       = 10 * time.Second
)

// codeLate is the code of an exchange that took longer than exchangeTimeout.
const codeLate = "late"

// trailLength is how many exchanges a session remembers for reports.
const trailLength = 12

// A result is the answer to one statement.
type result struct {
	columns []string // name, type and modifier, format
	rows    []string // cells in quotes
	tag     string
}

// An outcome is what came of one exchange.
type outcome struct {
	results   []result
	code      string // SQLSTATE; "lost" when the connection broke, codeLate, "" without error
	err       error
	described []string // what Describe said of a prepared statement; nil if it was prepared before
	status    byte     // I, T or E
	took      time.Duration
}

// A session is a connection with its prepared statements.
type session struct {
	dsn      string
	conn     *pgconn.PgConn
	prepared map[string]string // texts by name
	types    *pgtype.Map

	late      func(*session, []step) // called while an exchange takes longer than lateAfter; may be nil
	lateAfter time.Duration
	recent    []exchanged // the last exchanges, oldest first
}

// An exchanged is what one exchange came to.
type exchanged struct {
	at    time.Time
	took  time.Duration
	code  string
	steps []step
}

// trail is what a session did of late, for reports.
func (s *session) trail() string {
	var b strings.Builder
	for _, e := range s.recent {
		code := e.code
		if code == "" {
			code = "ok"
		}
		fmt.Fprintf(&b, "%v ago, %v, %s:\n%s", time.Since(e.at).Round(time.Millisecond), e.took.Round(time.Millisecond), code, unit(e.steps))
	}
	return b.String()
}

func newSession(dsn string) *session {
	return &session{dsn: dsn, types: pgtype.NewMap(), lateAfter: lateAfter}
}

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
func (s *session) run(ctx context.Context, steps []step) (o outcome) {
	ctx, stop := context.WithTimeout(ctx, exchangeTimeout)
	defer stop()
	start := time.Now()
	defer func() {
		s.recent = append(s.recent[max(0, len(s.recent)-trailLength+1):], exchanged{start, o.took, o.code, steps})
	}()
	defer s.watch(steps)() // reads what is written above
	defer func() { o.took = time.Since(start) }()
	if err := s.open(ctx); err != nil {
		return outcome{code: "lost", err: err}
	}
	in, out := copies(steps[0].sql)
	switch {
	case len(steps) > 1:
		o = s.pipeline(ctx, steps)
	case in:
		o = s.copyIn(ctx, &steps[0])
	case out:
		o = s.copyOut(ctx, &steps[0])
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
			if ctx.Err() != nil {
				o.code = codeLate
			}
			s.close()
			return o
		}
	}
	o.status = s.conn.TxStatus()
	return o
}

// watch calls late if end is not called in time. end waits for it.
func (s *session) watch(steps []step) (end func()) {
	if s.late == nil {
		return func() {}
	}
	done := make(chan struct{})
	timer := time.AfterFunc(s.lateAfter, func() {
		defer close(done)
		s.late(s, steps)
	})
	return func() {
		if !timer.Stop() {
			<-done
		}
	}
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
