package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// bulkLoad moves one big result or one COPY through each target. The window is from the common start to the
// moment the first side has finished: for all of it, all sides were busy.
type bulkLoad struct {
	sql  string    // with %d for the number of rows, for what comes out; the COPY statement for what goes in
	into *copyData // COPY FROM STDIN
}

// rowBytes is the payload of a row; rows cost PostgreSQL little at that size, and the pooler is what limits.
const rowBytes = 1000

func (l *bulkLoad) run(ctx context.Context, b *bench, targets []*target, _ int) ([]sample, error) {
	sides := make([]*bulkSide, len(targets))
	for i, t := range targets {
		s, err := login(ctx, t.port)
		if err == nil {
			defer s.close()
			err = s.query("SELECT 1") // the pooler logs in to its server here, outside the window
		}
		sides[i] = &bulkSide{session: s, err: err}
	}
	// A session blocks in the kernel; ending its connection is how it hears of an interrupt.
	stop := context.AfterFunc(ctx, func() {
		for _, s := range sides {
			if s.session != nil {
				s.session.close()
			}
		}
	})
	defer stop()

	begin, err := readMeters(targets)
	if err != nil {
		return nil, err
	}
	var end meters
	var endErr error
	moved := make([]int64, len(targets))
	var first sync.Once
	var running sync.WaitGroup
	for _, side := range sides {
		if side.err != nil {
			continue
		}
		running.Go(func() {
			side.err = l.transfer(side, b.bulkBytes)
			first.Do(func() {
				for i := range sides {
					moved[i] = sides[i].bytes.Load()
				}
				end, endErr = readMeters(targets)
			})
		})
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	samples := make([]sample, len(targets))
	for i, side := range sides {
		if samples[i].err = side.err; side.err != nil {
			continue
		}
		if endErr != nil {
			return nil, endErr
		}
		samples[i] = sample{
			ops:     float64(moved[i]) / 1e6,
			seconds: end.at.Sub(begin.at).Seconds(),
			cpu:     nan,
			p50:     nan, p99: nan, kib: nan,
		}
		if targets[i].proc != nil {
			samples[i].cpu = end.cpu[i] - begin.cpu[i]
		}
	}
	return samples, nil
}

// bulkSide is the client of one target.
type bulkSide struct {
	session *session
	bytes   atomic.Int64
	err     error
}

// transfer runs the statement once, with about total bytes of payload.
func (l *bulkLoad) transfer(side *bulkSide, total int64) error {
	if l.into != nil {
		return copyIn(side, l.sql, total, l.into)
	}
	if err := side.session.send(fmt.Sprintf(l.sql, total/rowBytes)); err != nil {
		return err
	}
	return drain(side, total)
}

// readyIdle is ReadyForQuery outside a transaction. The payload of the statements here cannot contain it.
var readyIdle = []byte{'Z', 0, 0, 0, 5, 'I'}

// drain reads a whole reply without looking at its messages: it ends with readyIdle.
func drain(side *bulkSide, atLeast int64) error {
	conn := side.session.conn
	buf := make([]byte, 256<<10)
	var tail []byte // the last bytes, where the end may be split over two reads
	for read := int64(0); ; {
		n, err := conn.Read(buf)
		if n > 0 && read == 0 && buf[0] == 'E' {
			return fmt.Errorf("server error: %q", buf[:min(n, 300)])
		}
		read += int64(n)
		side.bytes.Store(read)
		if tail = append(tail, buf[max(0, n-len(readyIdle)):n]...); len(tail) > len(readyIdle) {
			tail = tail[len(tail)-len(readyIdle):]
		}
		if bytes.Equal(tail, readyIdle) {
			if read < atLeast {
				return fmt.Errorf("the result ended after %d of %d bytes", read, atLeast)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes of a result: %w", read, err)
		}
	}
}

// copyIn sends rows in messages of 8 kB, as psql does, many to a system call.
func copyIn(side *bulkSide, sql string, total int64, data *copyData) error {
	s := side.session
	if err := s.send(sql); err != nil {
		return err
	}
	kind, n, err := s.header()
	if err != nil {
		return err
	}
	if kind != 'G' {
		text := make([]byte, min(n, 300))
		_, _ = s.in.Read(text) // best effort, for the message below
		return fmt.Errorf("COPY was answered with %q %q", kind, text)
	}
	if _, err := s.in.Discard(n); err != nil {
		return err
	}
	// A server that gives up says so while we write; without a reader the error would be found only at the end.
	reply := make(chan error, 1)
	go func() { reply <- s.untilReady() }()
	block := data.block()
	next := append(copyMessage(data.header), block...)
	for sent := int64(0); sent < total; next = block {
		if _, err := s.conn.Write(next); err != nil {
			return errors.Join(err, hangUp(s.conn, reply))
		}
		sent += int64(len(next))
		side.bytes.Store(sent)
	}
	if _, err := s.conn.Write([]byte{'c', 0, 0, 0, 4}); err != nil {
		return errors.Join(err, hangUp(s.conn, reply))
	}
	return <-reply
}

// hangUp closes the connection and collects what its reader has to say.
func hangUp(c net.Conn, reply <-chan error) error {
	c.Close()
	return <-reply
}

// copyData is what COPY FROM STDIN reads: a header, and then one row again and again.
type copyData struct{ header, row string }

// The two formats (PostgreSQL manual, COPY, "File Formats") of a table with one column of text.
var (
	copyText   = copyData{row: strings.Repeat("x", rowBytes-1) + "\n"}
	copyBinary = copyData{
		header: "PGCOPY\n\xff\r\n\x00" + strings.Repeat("\x00", 8), // no flags, no extension
		row:    string(binary.BigEndian.AppendUint32([]byte{0, 1}, rowBytes-6)) + strings.Repeat("x", rowBytes-6),
	}
)

// block is eight CopyData messages of eight rows.
func (d *copyData) block() []byte { return bytes.Repeat(copyMessage(strings.Repeat(d.row, 8)), 8) }

// copyMessage is CopyData.
func copyMessage(data string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{'d'}, uint32(len(data)+4)), data...)
}
