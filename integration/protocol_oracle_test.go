package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgdrover/internal/pgtest"
)

// A dialogue is what one or more clients say. Lines that begin with ">" are messages, sent as one packet when a line
// with "<" tells what to wait for: types of backend messages, in order. A digit before the sign is the client, 0 if there
// is none. Lines with "!" are SQL that runs beside them in the same database.
type dialogue struct {
	name   string
	script string
	// skip names variants for which PostgreSQL's answer cannot be had, with the reason.
	skip map[string]string
	// edit changes the text of a variant's answers where a difference is meant to be.
	edit func(variant, answers string) string
}

// variants are the ways to PostgreSQL that must all give the answers of the first.
var variants = []string{"plain", "session", "tx", "robin", "pieces", "stmt"}

const blocks = "statement mode refuses transaction blocks"

var noStmt = map[string]string{"stmt": blocks}

// A lab is one PostgreSQL with a database for every variant, and a pgdrover in front of it.
type lab struct {
	pg *pgtest.Cluster
	b  *bouncer
}

// newLab starts both. Variants: "session"; "tx", transaction mode on one server; "robin", transaction mode where every
// transaction goes to another of three servers; "pieces", "tx" for clients that write a few bytes at a time; "stmt", statement mode.
func newLab(t *testing.T, settings string) *lab {
	t.Helper()
	opts := []pgtest.Option{pgtest.WithAuth("trust"), pgtest.WithSetting("wal_level", "logical")}
	for _, v := range variants {
		opts = append(opts, pgtest.WithDatabase(v, ""))
	}
	l := &lab{pg: pgtest.Start(t, opts...)}
	tables := trustUsers
	for _, v := range variants[1:] {
		mode, size := "transaction", 1
		switch v {
		case "session":
			mode, size = "session", 5
		case "stmt":
			mode = "statement"
		case "robin":
			size = 3
		}
		tables += fmt.Sprintf("[databases.%s]\nhost = \"127.0.0.1\"\nport = %d\npool_mode = %q\npool_size = %d\n", v, l.pg.Port, mode, size)
	}
	l.b = startBouncer(t, "auth_type = \"trust\"\nserver_round_robin = true\n"+settings, tables)
	var holders []*rawClient
	for range 3 { // so that there are three servers to go round
		c := startRaw(t, l.b.Port, "robin", "postgres")
		c.say("Q BEGIN")
		holders = append(holders, c)
	}
	for _, c := range holders {
		c.say("Q ROLLBACK")
		_ = c.nc.Close()
	}
	return l
}

// dial logs a client in to a variant.
func (l *lab) dial(t *testing.T, variant string) *rawClient {
	t.Helper()
	port := l.b.Port
	if variant == "plain" {
		port = l.pg.Port
	}
	c := startRaw(t, port, variant, "postgres")
	if variant == "pieces" {
		c.split = rand.New(rand.NewPCG(1, 2))
	}
	return c
}

// hold runs a dialogue on one variant and returns what was answered.
func (l *lab) hold(t *testing.T, variant, script string) string {
	t.Helper()
	clients := map[byte]*rawClient{}
	packets := map[byte][]string{}
	var out strings.Builder
	for _, line := range strings.Split(script, "\n") {
		line = strings.TrimLeft(line, "\t ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if sql, ok := strings.CutPrefix(line, "! "); ok {
			l.pg.MustExec(t, variant, sql)
			continue
		}
		who := byte('0')
		if line[0] >= '0' && line[0] <= '9' {
			who, line = line[0], line[1:]
		}
		if clients[who] == nil {
			clients[who] = l.dial(t, variant)
		}
		arg := strings.TrimPrefix(line[1:], " ")
		switch line[0] {
		case '>':
			packets[who] = append(packets[who], arg)
		case '<':
			c := clients[who]
			c.write(encode(t, packets[who]...))
			packets[who] = nil
			answer := c.until(strings.ReplaceAll(strings.ReplaceAll(arg, " ", ""), "EOF", "\x00"))
			fmt.Fprintf(&out, "%c: %s\n", who, strings.ReplaceAll(answer, " Z", "\n   Z"))
			if strings.HasSuffix(answer, "TIMEOUT") {
				return out.String()
			}
		default:
			t.Fatalf("line %q", line)
		}
	}
	for _, c := range clients {
		_ = c.tryWrite(frame('X', ""))
		_ = c.nc.Close()
	}
	return out.String()
}

// compare runs dialogues on all variants.
func (l *lab) compare(t *testing.T, dialogues []dialogue) {
	t.Helper()
	for _, d := range dialogues {
		t.Run(d.name, func(t *testing.T) {
			want := l.hold(t, "plain", d.script)
			if strings.HasSuffix(want, "TIMEOUT\n") {
				t.Fatalf("PostgreSQL does not answer:\n%s", want)
			}
			for _, v := range variants[1:] {
				if d.skip[v] != "" {
					continue
				}
				edit := d.edit
				if edit == nil {
					edit = func(_, s string) string { return s }
				}
				got := l.hold(t, v, d.script)
				if diff := cmp.Diff(strings.Split(edit("plain", want), "\n"), strings.Split(edit(v, got), "\n")); diff != "" {
					t.Errorf("%s (-PostgreSQL +pgdrover):\n%s", v, diff)
				}
			}
		})
	}
}
