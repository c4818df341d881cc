package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// insertLoad stores rows with one INSERT after the other, from one client on each side. Operations are rows.
type insertLoad struct{}

func (insertLoad) run(ctx context.Context, b *bench, targets []*target, _ int) ([]sample, error) {
	sides := make([]*insertSide, len(targets))
	for i, t := range targets {
		sides[i] = &insertSide{}
		if sides[i].err = sides[i].prepare(ctx, t); sides[i].session != nil {
			defer sides[i].session.close()
		}
	}
	begin, err := readMeters(targets)
	if err != nil {
		return nil, err
	}
	until := begin.at.Add(time.Duration(b.seconds) * time.Second)
	var running sync.WaitGroup
	for _, s := range sides {
		if s.err == nil {
			defer context.AfterFunc(ctx, s.session.close)()
			running.Go(func() { s.err = s.insert(until) })
		}
	}
	running.Wait()
	end, err := readMeters(targets)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	samples := make([]sample, len(targets))
	for i, s := range sides {
		samples[i] = sample{
			ops: float64(s.rows), seconds: end.at.Sub(begin.at).Seconds(), cpu: end.cpu[i] - begin.cpu[i], p50: nan, p99: nan, kib: nan, err: s.err,
		}
	}
	return samples, nil
}

// insertSide is the client of one target.
type insertSide struct {
	session *session
	text    []byte
	rows    int
	err     error
}

// prepare empties the table and stores the first rows, so that plans, pools and the table are there.
func (s *insertSide) prepare(ctx context.Context, t *target) error {
	var err error
	if s.session, err = login(ctx, t.port); err != nil {
		return err
	}
	if err := s.session.query("TRUNCATE inserted"); err != nil {
		return err
	}
	for range 3 {
		if err := s.one(); err != nil {
			return err
		}
	}
	s.rows = 0
	return s.session.query("TRUNCATE inserted")
}

func (s *insertSide) insert(until time.Time) error {
	for time.Now().Before(until) {
		if err := s.one(); err != nil {
			return err
		}
	}
	return nil
}

// one stores insertRows rows with new ids.
func (s *insertSide) one() error {
	text := append(s.text[:0], "INSERT INTO inserted (id, name, amount) VALUES "...)
	for i := range insertRows {
		if i > 0 {
			text = append(text, ',')
		}
		id := int64(s.rows + i)
		text = strconv.AppendInt(append(text, '('), id, 10)
		text = strconv.AppendInt(append(text, ",'customer number "...), id, 10)
		text = strconv.AppendInt(append(text, "',"...), id%1000, 10)
		text = append(text, ')')
	}
	s.text = text
	if err := s.session.query(string(text)); err != nil {
		return fmt.Errorf("after %d rows: %w", s.rows, err)
	}
	s.rows += insertRows
	return nil
}
