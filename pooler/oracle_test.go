package pooler

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"pgdrover/internal/config"
)

// statementTexts are what the generated clients run. The first word says what it does, see backend.run.
var statementTexts = []string{"select 1", "select 2", "select 3", "set x", "fail now", "noparse x", "nobind x", "notice", "deallocate all", "deallocate a --", "deallocate b --", ""}

// genUnit draws what a client sends up to and with a message that wants all answers.
func genUnit(t *rapid.T, who string) []byte {
	var b []byte
	text := func() string { return rapid.SampledFrom(statementTexts).Draw(t, "text") }
	if rapid.IntRange(0, 9).Draw(t, "simple") == 0 {
		return msg('Q', rapid.SampledFrom([]string{"select 9", "begin", "commit", "rollback", "deallocate a", "DEALLOCATE \"b\";", "fail x", "big", "notice", ""}).Draw(t, "query"), "\x00")
	}
	if rapid.IntRange(0, 29).Draw(t, "call") == 0 {
		return msg('F', "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	}
	names := []string{"a", "b", "c", "d"}
	for range rapid.IntRange(0, 6).Draw(t, "messages") {
		name := rapid.SampledFrom(names).Draw(t, "name")
		switch rapid.IntRange(0, 8).Draw(t, "kind") {
		case 0, 1:
			b = append(b, msg('P', name, "\x00", text(), who, "\x00\x00\x00")...)
		case 2, 3:
			b = append(b, msg('B', "\x00", name, "\x00\x00\x00\x00\x00\x00\x00")...)
			b = append(b, msg('E', "\x00\x00\x00\x00\x00")...)
		case 4:
			b = append(b, msg('D', "S", name, "\x00")...)
		case 5:
			b = append(b, msg('C', "S", rapid.SampledFrom([]string{name, name, ""}).Draw(t, "closed"), "\x00")...)
		case 6:
			b = append(b, msg('P', "\x00", text(), who, "\x00\x00\x00")...)
		case 7:
			b = append(b, msg('B', "p\x00\x00\x00\x00\x00\x00\x00\x00")...)
			b = append(b, msg('D', "Pp\x00")...)
			b = append(b, msg('E', "p\x00\x00\x00\x00\x00")...)
		case 8:
			b = append(b, msg('H')...)
		}
	}
	if rapid.IntRange(0, 19).Draw(t, "no Sync") == 0 {
		b = append(b, msg('Q', "select 9\x00")...)
	}
	return append(b, msg('S')...)
}

// Clients that share servers must each see what they would see on a server of their own, whatever they send, however it
// is cut into pieces, and whatever statements have to be prepared anew, evicted or refused on the way.
func TestClientsOnSharedServersSeeWhatTheyWouldSeeAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	rapid.Check(t, func(t *rapid.T) {
		f := r.pool(config.PoolTransaction)
		cut := func(n int) int { return rapid.IntRange(1, n).Draw(t, "piece") }
		if rapid.Bool().Draw(t, "whole") {
			cut = nil
		}
		maxStmts := rapid.IntRange(1, 4).Draw(t, "max_prepared_statements")
		var servers []*fakeServer
		for range rapid.IntRange(1, 3).Draw(t, "servers") {
			servers = append(servers, f.server(cut))
		}
		type session struct {
			*fakeClient
			alone  *backend
			expect []byte
		}
		var all []*session
		for range rapid.IntRange(1, len(servers)).Draw(t, "clients") {
			all = append(all, &session{fakeClient: f.client(maxStmts, cut), alone: newBackend()})
		}
		for range rapid.IntRange(1, 25).Draw(t, "units") {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "client")
			c := all[i]
			unit := genUnit(t, fmt.Sprint(i))
			for range rapid.IntRange(0, 2).Draw(t, "further regions in the packet") {
				unit = append(unit, genUnit(t, fmt.Sprint(i))...)
			}
			c.expect = append(c.expect, c.alone.feed(unit)...)
			if err := c.drive(unit); err != errIdle {
				t.Fatalf("client %d: %v", i, err)
			}
			if got := c.mem.got(); !bytes.Equal(got, c.expect) {
				t.Fatalf("client %d\n got %q\nwant %q", i, got, c.expect)
			}
			if linked := c.srv != nil; linked != (c.alone.tx != 'I') {
				t.Fatalf("client %d: linked is %t with transaction status %q", i, linked, c.alone.tx)
			}
			if want := namedStatements(c.alone); len(c.stmts) != want {
				t.Fatalf("client %d has %d statements, want %d", i, len(c.stmts), want)
			}
		}
		for _, s := range servers {
			if s.backend.broken != "" {
				t.Fatalf("a server got %s", s.backend.broken)
			}
			own := 0
			for name := range s.backend.stmts {
				if strings.HasPrefix(name, r.p.stmts.prefix) {
					own++
				}
			}
			if most := max(s.prepared.len(), maxStmts) + len(s.toClose); own > most {
				t.Fatalf("a server keeps %d statements of ours, want at most %d", own, most)
			}
		}
		for _, c := range all {
			c.leave()
		}
		for _, s := range f.pl.takeIdle(func(*server) bool { return true }) {
			s.close("test is over")
		}
		if f.idle() != 0 {
			t.Fatal("servers are left")
		}
		if n, size := r.p.stmts.size(); n != 0 || size != 0 {
			t.Fatalf("%d statement texts of %d bytes are left", n, size)
		}
	})
}

func namedStatements(b *backend) int {
	n := len(b.stmts)
	if _, ok := b.stmts[""]; ok {
		n--
	}
	return n
}
