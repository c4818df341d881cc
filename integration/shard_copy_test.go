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
