package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a client sends behind the end of a COPY, in the same packet, went to the COPY's shard, wherever it belonged.
func TestWhatFollowsACopyIsRouted(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	for _, db := range []string{"shop", "one"} {
		c := s.Connect(ctx, db, "app")
		for id := range 13 {
			mustRun(ctx, t, c, fmt.Sprintf("INSERT INTO customers (id, name) VALUES (%d, 'customer %[1]d')", id))
		}
	}
	large := "d " + strings.Repeat("x", 100_000) + "\t1\\n"
	for i, test := range []struct {
		name    string
		packets [][]string // {n} is a number of its own, {id} a customer
		answers string     // the types of the messages that end the script
	}{
		{"simple", [][]string{{"Q COPY settings FROM STDIN", "d a{n}\t1\\n", "c", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"the end alone", [][]string{{"Q COPY settings FROM STDIN", "d a{n}\t1\\n"}, {"c", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"one by one", [][]string{{"Q COPY settings FROM STDIN"}, {"d a{n}\t1\\n"}, {"c"}, {"Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"large", [][]string{{"Q COPY settings FROM STDIN", "d a{n}\t1\\n", large, "c", "Q SELECT name FROM customers WHERE id = {id}", "Q DELETE FROM settings WHERE name LIKE 'x%'"}}, "ZZZ"},
		{"given up", [][]string{{"Q COPY settings FROM STDIN", "d a{n}\t1\\n", "f no more", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"a bad row", [][]string{{"Q COPY settings FROM STDIN", "d a{n}\\n", "d b{n}\t2\\n", "c", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"in a transaction", [][]string{{"Q BEGIN", "Q COPY settings FROM STDIN", "d a{n}\t1\\n", "c", "Q SELECT name FROM customers WHERE id = {id}", "Q COMMIT"}}, "ZZZZ"},
		{"with Syncs", [][]string{{"Q COPY settings FROM STDIN", "S", "d a{n}\t1\\n", "S", "c", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"with Syncs and a bad row", [][]string{{"Q COPY settings FROM STDIN", "S", "d a{n}\\n", "c", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"with Syncs and a bad row in a transaction", [][]string{{"Q BEGIN", "Q COPY settings FROM STDIN", "S", "d a{n}\\n", "c", "S", "Q ROLLBACK", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZZZZ"},
		{"over shards with Syncs", [][]string{{"Q COPY customers FROM STDIN", "S", "d 30{n}\ta\t\\N\\n", "S", "d 40{n}\tb\t\\N\\n", "c", "S", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZZ"},
		{"extended", [][]string{{"P - COPY settings FROM STDIN", "B - -", "E -", "H", "d a{n}\t1\\n", "c", "S", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"extended, as libpq", [][]string{{"P - COPY settings FROM STDIN", "B - -", "DP -", "E -", "S"}, {"d a{n}\t1\\n", "c", "S", "P - SELECT name FROM customers WHERE id = {id}", "B - -", "E -", "S"}}, "ZZ"},
		{"extended, Sync alone", [][]string{{"P - COPY settings FROM STDIN", "B - -", "E -", "H"}, {"d a{n}\t1\\n"}, {"c"}, {"S"}, {"Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"extended, a bad row", [][]string{{"P - COPY settings FROM STDIN", "B - -", "E -", "H"}, {"d a{n}\\n", "d b{n}\t2\\n", "c", "S", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"over shards", [][]string{{"Q COPY customers FROM STDIN", "d 10{n}\ta\t\\N\\n", "d 20{n}\tb\t\\N\\n", "c", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
		{"to every shard", [][]string{{"Q COPY countries FROM STDIN", "d c{n}\ta\\n", "c", "Q SELECT name FROM customers WHERE id = {id}"}}, "ZZ"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			shop, one := startRaw(t, s.Port, "shop", "app"), startRaw(t, s.Port, "one", "app")
			for try := range 12 {
				if try >= 8 {
					shop.split, one.split = rand.New(rand.NewPCG(uint64(try), uint64(i))), rand.New(rand.NewPCG(uint64(i), uint64(try)))
				}
				var got []string
				values := strings.NewReplacer("{n}", strconv.Itoa(100*i+try), "{id}", strconv.Itoa(try+1))
				for _, c := range []*rawClient{one, shop} {
					for _, packet := range test.packets {
						var b []byte
						for _, m := range packet {
							b = append(b, encode(t, values.Replace(m))...)
						}
						c.write(b)
					}
					got = append(got, c.until(test.answers))
				}
				if got[0] != got[1] || !strings.Contains(got[1], fmt.Sprintf("D(customer %d)", try+1)) {
					t.Errorf("try %d: got %s\nPostgreSQL says %s", try, got[1], got[0])
				}
			}
		})
	}
}

// A COPY FROM STDIN among other statements took the shard's server down with it, and was said to be the shard's fault.
func TestACopyAmongOtherStatementsIsRefused(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 2, "", "")
	elsewhere := fmt.Sprintf("SELECT count(*) FROM customers WHERE id = %d", s.keysOf(ctx, t)["b"])
	c := startRaw(t, s.Port, "shop", "app")
	const refused = "E(SERROR; C0A000; MCOPY FROM STDIN on a sharded database has to be a query of its own;"
	pid := c.say("Q /* shard=a */ SELECT pg_backend_pid()")
	for _, test := range []struct {
		messages []string
		answers  string
	}{
		{[]string{"Q " + elsewhere + "; COPY settings FROM STDIN; SELECT 2"}, "T(count:20) D(1) C(SELECT 1) "},
		{[]string{"Q INSERT INTO settings VALUES ('a', '1'); COPY settings FROM STDIN; " + elsewhere, "d b\t2\\n", "c"}, "C(INSERT 0 1) "},
		{[]string{"P - " + elsewhere, "B - -", "E -", "P - COPY settings FROM STDIN", "B - -", "E -", "S"}, "1 2 D(1) C(SELECT 1) 1 2 "},
	} {
		if got := c.say(test.messages...); !strings.HasPrefix(got, test.answers+refused) || !strings.HasSuffix(got, "Z(I)") {
			t.Errorf("%s: %s", test.messages, got)
		}
		if got := c.say("Q SELECT count(*) FROM settings"); got != "T(count:20) D(0) C(SELECT 1) Z(I)" {
			t.Errorf("%s, then: %s", test.messages, got)
		}
	}
	if got := c.say("Q /* shard=a */ SELECT pg_backend_pid()"); got != pid {
		t.Errorf("the server was lost: %s, then %s", pid, got)
	}
	// One that goes out is no problem, with all its rows.
	c.say("Q INSERT INTO settings VALUES ('a', '1'), ('b', '2')")
	if got := c.say("Q SELECT 1; COPY settings TO STDOUT; SELECT 2"); got != `T(?column?:23) D(1) C(SELECT 1) H(0,2) d(a	1\n) d(b	2\n) c C(COPY 2) T(?column?:23) D(2) C(SELECT 1) Z(I)` {
		t.Error(got)
	}
}
