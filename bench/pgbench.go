package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// load makes work for one or several targets at the same moment and returns a sample for each, in order.
// What goes wrong for one target is in its sample; the error is for what concerns all.
type load interface {
	run(ctx context.Context, b *bench, targets []*target, clients int) ([]sample, error)
}

// pgbenchLoad is a pgbench run against each target.
type pgbenchLoad struct {
	protocol  string // simple, extended or prepared
	script    string // SQL; empty for the built-in select-only
	reconnect bool   // a connection for each transaction
	seconds   int    // length of a run; 0 = as the flags say
	rate      float64
	// wholeTail counts transactions that finish after the window too, and so the slowest ones.
	wholeTail bool
	beside    *beside // what others do meanwhile; nil for nothing
}

// beside is a further load of each target, as fast as it can.
type beside struct {
	script  string
	clients int
}

// The window of a run opens when all sides have begun to work and their pools have had the time to grow,
// and closes before the first pgbench ends.
const (
	warmUp       = 250 * time.Millisecond
	closing      = 100 * time.Millisecond
	readInterval = 25 * time.Millisecond
	minWindow    = 200 * time.Millisecond
)

// errNotReady says that a run was over before there was something to measure.
var errNotReady = errors.New("the clients were not ready in time for a measurement; give it a longer -duration")

// run repeats a run that was too short, at double length: logins of many clients can take seconds.
func (l *pgbenchLoad) run(ctx context.Context, b *bench, targets []*target, clients int) ([]sample, error) {
	seconds := l.seconds
	if seconds == 0 {
		seconds = b.seconds
	}
	for try := 0; ; try++ {
		samples, err := l.runFor(ctx, b, targets, clients, seconds)
		if try == 3 || !errors.Is(err, errNotReady) {
			return samples, err
		}
		seconds *= 2
	}
}

func (l *pgbenchLoad) runFor(ctx context.Context, b *bench, targets []*target, clients, seconds int) ([]sample, error) {
	dir, err := os.MkdirTemp(b.dir, "log-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	script, others := "", ""
	if l.script != "" {
		if script, err = writeScript(dir, "script.sql", l.script); err != nil {
			return nil, err
		}
	}
	if l.beside != nil {
		if others, err = writeScript(dir, "beside.sql", l.beside.script); err != nil {
			return nil, err
		}
	}
	samples := make([]sample, len(targets))
	programs, each := 1, clients
	if l.reconnect { // see docs/benchmarks.md, "Connecting"
		programs, each = clients, 1
	}
	errs := make([][]error, len(targets))
	var running sync.WaitGroup
	begin := time.Now()
	for i, t := range targets {
		errs[i] = make([]error, programs+1) // the last one is for those beside
		for k := range programs {
			cmd := l.command(b, t, filepath.Join(dir, strconv.Itoa(i)), script, each, seconds)
			running.Go(func() { errs[i][k] = runLocked(ctx, cmd) })
		}
		if l.beside != nil {
			other := &pgbenchLoad{protocol: l.protocol}
			cmd := other.command(b, t, filepath.Join(dir, besideLog(i)), others, l.beside.clients, seconds)
			running.Go(func() { errs[i][programs] = runLocked(ctx, cmd) })
		}
	}
	readings, err := readUntil(ctx, targets, begin.Add(time.Duration(seconds)*time.Second-closing))
	running.Wait()
	var logs [][]transaction
	for i := range targets {
		var log []transaction
		if samples[i].err = errors.Join(errs[i]...); samples[i].err == nil {
			log, samples[i].err = readLogs(filepath.Join(dir, strconv.Itoa(i)))
		}
		if samples[i].err != nil {
			// Nothing was measured on the other sides either: they had more of the machine than their share.
			return samples, nil
		}
		logs = append(logs, log)
	}
	if err != nil { // after what pgbench says: it knows more about a pooler that died
		return nil, err
	}
	from, to, err := window(readings, logs)
	if err != nil {
		return nil, err
	}
	for i, log := range logs {
		samples[i] = l.digest(log, from, to, i)
		if l.beside == nil || samples[i].err != nil {
			continue
		}
		others, err := readLogs(filepath.Join(dir, besideLog(i)))
		if err != nil {
			return nil, err
		}
		for _, tx := range others {
			if tx.endsBetween(from, to) {
				samples[i].beside++
			}
		}
	}
	return samples, nil
}

func writeScript(dir, name, sql string) (file string, err error) {
	file = filepath.Join(dir, name)
	return file, os.WriteFile(file, []byte(sql+"\n"), 0o600)
}

func besideLog(i int) string { return fmt.Sprintf("beside-%d", i) }

// command is one pgbench of a target. Several may have the same prefix of their logs. script is a file, or "" for the built-in one.
func (l *pgbenchLoad) command(b *bench, t *target, prefix, script string, clients, seconds int) *exec.Cmd {
	args := []string{
		"--no-vacuum", "--protocol=" + l.protocol,
		"--client=" + strconv.Itoa(clients),
		"--time=" + strconv.Itoa(seconds),
		"--log", "--log-prefix=" + prefix,
		"--host=" + loopback, "--port=" + strconv.Itoa(t.port), "--username=" + t.user(),
	}
	if script == "" {
		args = append(args, "--select-only")
	} else {
		args = append(args, "--file="+script)
	}
	if l.reconnect {
		args = append(args, "--connect")
	}
	if l.rate > 0 {
		args = append(args, fmt.Sprintf("--rate=%.3f", l.rate))
	}
	cmd := exec.Command(b.pgbench, append(args, benchDB)...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+benchPassword, "PGSSLMODE=disable", "PGGSSENCMODE=disable")
	cmd.SysProcAttr = childAttributes(nil)
	return cmd
}

// runLocked runs a command to its end, or kills it when ctx ends. The error carries what it said.
func runLocked(ctx context.Context, cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	ended := make(chan error, 1)
	if err := startLocked(cmd, func(err error) { ended <- err }); err != nil {
		return err
	}
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill() // an error means that it has just ended
		<-ended
		return ctx.Err()
	}
	text := strings.TrimSpace(said.String())
	if err != nil {
		return fmt.Errorf("pgbench: %w: %s", err, lastLines(text, 3))
	}
	// With some of its clients lost pgbench goes on with the others, and its figures mean nothing.
	if strings.Contains(text, "aborted") {
		return fmt.Errorf("pgbench lost clients: %s", lastLines(text, 3))
	}
	return nil
}

// meters are the readings of one instant.
type meters struct {
	at  time.Time
	cpu []float64 // processor seconds of each target
}

// readUntil reads all targets' processor time again and again until the given instant: which of the
// readings bound the window is known only when the logs are.
func readUntil(ctx context.Context, targets []*target, end time.Time) ([]meters, error) {
	var all []meters
	ticks := time.NewTicker(readInterval)
	defer ticks.Stop()
	for time.Now().Before(end) {
		m, err := readMeters(targets)
		if err != nil {
			return all, err
		}
		all = append(all, m)
		select {
		case <-ctx.Done():
			return all, ctx.Err()
		case <-ticks.C:
		}
	}
	return all, nil
}

// window chooses the readings that bound what is measured.
func window(readings []meters, logs [][]transaction) (from, to meters, err error) {
	var open time.Time
	for _, log := range logs {
		first := log[0].start()
		for _, tx := range log {
			if tx.start().Before(first) {
				first = tx.start()
			}
		}
		if first = first.Add(warmUp); first.After(open) {
			open = first
		}
	}
	for _, m := range readings {
		if !m.at.Before(open) {
			from, to = m, readings[len(readings)-1]
			break
		}
	}
	if from.at.IsZero() || to.at.Sub(from.at) < minWindow {
		return from, to, errNotReady
	}
	return from, to, nil
}

// readMeters reads all targets' processor time.
func readMeters(targets []*target) (meters, error) {
	m := meters{at: time.Now(), cpu: make([]float64, len(targets))}
	for i, t := range targets {
		var err error
		if m.cpu[i], err = t.cpu(); err != nil {
			return m, err
		}
	}
	return m, nil
}

// readLogs returns what pgbench logged, at least one transaction. Each of its threads has a file.
func readLogs(prefix string) ([]transaction, error) {
	files, err := filepath.Glob(prefix + ".[0-9]*")
	if err != nil {
		return nil, err
	}
	var all []transaction
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		err = readTransactions(f, func(tx transaction) { all = append(all, tx) })
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, errors.New("pgbench logged no transaction")
	}
	return all, nil
}

// digest makes a sample of target i from its transactions and the readings at both ends of the window.
func (l *pgbenchLoad) digest(log []transaction, from, to meters, i int) sample {
	count, latencies := 0, make([]uint32, 0, len(log))
	for _, tx := range log {
		inside := tx.endsBetween(from, to)
		if inside {
			count++
		}
		if inside || l.wholeTail && !tx.end.Before(to.at) {
			latencies = append(latencies, tx.micros)
		}
	}
	if count == 0 {
		return sample{err: errors.New("no transaction ended inside the window: it hangs, or takes longer than the run")}
	}
	slices.Sort(latencies)
	return sample{
		ops:     float64(count),
		seconds: to.at.Sub(from.at).Seconds(),
		cpu:     to.cpu[i] - from.cpu[i],
		p50:     percentile(latencies, 50) / 1000,
		p99:     percentile(latencies, 99) / 1000,
		kib:     nan,
	}
}

// transaction is one line of a pgbench log.
type transaction struct {
	end    time.Time
	micros uint32 // from when it was sent to when it ended
}

func (tx transaction) start() time.Time {
	return tx.end.Add(-time.Duration(tx.micros) * time.Microsecond)
}

// endsBetween says whether it is counted in the window that two readings bound.
func (tx transaction) endsBetween(from, to meters) bool {
	return !tx.end.Before(from.at) && tx.end.Before(to.at)
}

// readTransactions reads a pgbench log: client, number, microseconds, script, and the end as seconds and
// microseconds of the epoch; with a rate also the microseconds that it started late, which are part of the
// first figure and no fault of the server.
func readTransactions(r io.Reader, each func(transaction)) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 {
			return fmt.Errorf("line %d of pgbench's log has %d fields: %q", n, len(fields), lines.Text())
		}
		if fields[2] == "failed" || fields[2] == "skipped" {
			return fmt.Errorf("line %d of pgbench's log: a transaction %s", n, fields[2])
		}
		var v [4]int64
		for i, f := range []string{fields[2], fields[4], fields[5], "0"} {
			if i == 3 && len(fields) > 6 {
				f = fields[6]
			}
			var err error
			if v[i], err = strconv.ParseInt(f, 10, 64); err != nil {
				return fmt.Errorf("line %d of pgbench's log: %w", n, err)
			}
		}
		micros := min(max(v[0]-v[3], 0), math.MaxUint32)
		each(transaction{end: time.Unix(v[1], v[2]*1000), micros: uint32(micros)})
	}
	return lines.Err()
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
