package pooler

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRingIsAQueue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var r ring[int]
		var model []int
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.IntRange(1, 400).Draw(t, "n") {
					next++
					r.push(next)
					model = append(model, next)
				}
			},
			"pop": func(t *rapid.T) {
				for range min(len(model), rapid.IntRange(1, 400).Draw(t, "n")) {
					if got := r.pop(); got != model[0] {
						t.Fatalf("popped %d, want %d", got, model[0])
					}
					model = model[1:]
				}
			},
			"remove": func(t *rapid.T) {
				if len(model) < 2 {
					t.Skip("it is only used behind the head")
				}
				i := rapid.IntRange(1, len(model)-1).Draw(t, "i")
				r.remove(i)
				model = slices.Delete(model, i, i+1)
			},
			"clear": func(*rapid.T) { r.clear(); model = nil },
			"": func(t *rapid.T) {
				if r.n != len(model) {
					t.Fatalf("length %d, want %d", r.n, len(model))
				}
				for i, v := range model {
					if *r.at(i) != v {
						t.Fatalf("entry %d is %d, want %d", i, *r.at(i), v)
					}
				}
				if r.n == 0 && len(r.b) > ringKeep {
					t.Fatalf("an empty ring keeps %d entries", len(r.b))
				}
			},
		})
	})
}

// A popped or removed entry must not keep what it pointed to alive.
func TestRingForgetsWhatWasPopped(t *testing.T) {
	t.Parallel()
	var r ring[*int]
	for range 10 {
		r.push(new(int))
	}
	r.remove(4)
	for range 9 {
		r.pop()
	}
	for i, p := range r.b {
		if p != nil {
			t.Errorf("slot %d still has its entry", i)
		}
	}
}

func TestPreparedSetForgetsTheLeastRecentlyUsedAndCountsReferences(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table := newStmtTable()
		var ps preparedSet
		ps.init()
		var stmts []*stmt
		for i := range 6 {
			stmts = append(stmts, table.intern(fmt.Appendf(nil, "select %d", i), 0))
		}
		envs := []env{noEnv, makeEnv([]param{{"DateStyle", "ISO"}})}
		var model []*prepared // most recently used first
		var removed []*prepared
		key := func(t *rapid.T) stmtKey {
			return stmtKey{rapid.SampledFrom(stmts).Draw(t, "stmt"), rapid.SampledFrom(envs).Draw(t, "env")}
		}
		find := func(k stmtKey) int { return slices.IndexFunc(model, func(p *prepared) bool { return p.key == k }) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k := key(t)
				p, replaced := ps.add(table, k, 1)
				p.confirmed = rapid.Bool().Draw(t, "confirmed")
				if i := find(k); i >= 0 {
					if replaced != model[i] {
						t.Fatal("the older entry was not returned")
					}
					removed = append(removed, model[i])
					model = slices.Delete(model, i, i+1)
				} else if replaced != nil {
					t.Fatal("an entry was replaced that was not there")
				}
				model = slices.Insert(model, 0, p)
			},
			"get": func(t *rapid.T) {
				k := key(t)
				i := find(k)
				p := ps.get(k)
				if (p != nil) != (i >= 0) {
					t.Fatalf("found is %t, want %t", p != nil, i >= 0)
				}
				if p != nil {
					model = slices.Insert(slices.Delete(model, i, i+1), 0, p)
				}
			},
			"remove": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("empty")
				}
				i := rapid.IntRange(0, len(model)-1).Draw(t, "i")
				ps.remove(table, model[i])
				removed = append(removed, model[i])
				model = slices.Delete(model, i, i+1)
			},
			"remove again": func(*rapid.T) {
				for _, p := range removed {
					ps.remove(table, p)
				}
			},
			"clear": func(*rapid.T) { ps.clear(table); removed = append(removed, model...); model = nil },
			"": func(t *rapid.T) {
				var got []*prepared
				for p := ps.root.next; p != &ps.root; p = p.next {
					got = append(got, p)
				}
				if !slices.Equal(got, model) || ps.len() != len(model) {
					t.Fatalf("%d entries in another order than the model's %d", len(got), len(model))
				}
				var oldest *prepared
				for _, p := range model {
					if p.confirmed {
						oldest = p
					}
				}
				if ps.oldest() != oldest {
					t.Fatal("oldest is not the least recently used confirmed one")
				}
				for _, s := range stmts {
					want := 1
					for _, p := range model {
						if p.key.stmt == s {
							want++
						}
					}
					if s.refs != want {
						t.Fatalf("%q has %d references, want %d", s.body, s.refs, want)
					}
				}
			},
		})
		ps.clear(table)
		for _, s := range stmts {
			table.unref(s)
		}
		if n, size := table.size(); n != 0 || size != 0 {
			t.Fatalf("%d statements of %d bytes are left", n, size)
		}
	})
}

func TestEnvBehavesAsAMapWithoutCase(t *testing.T) {
	t.Parallel()
	name := rapid.SampledFrom([]string{"DateStyle", "datestyle", "TimeZone", "search_path", "ROLE", "role", "x"})
	value := rapid.SampledFrom([]string{"", "a", "b", "weird 'value\"\\"})
	draw := func(t *rapid.T, label string) ([]param, map[string]string) {
		var ps []param
		m := map[string]string{}
		for range rapid.IntRange(0, 8).Draw(t, label) {
			p := param{name.Draw(t, "name"), value.Draw(t, "value")}
			ps = append(ps, p)
			m[strings.ToLower(p.name)] = p.value
		}
		return ps, m
	}
	asMap := func(e env) map[string]string {
		m := map[string]string{}
		for _, p := range envParams(e) {
			m[strings.ToLower(p.name)] = p.value
		}
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		hp, hm := draw(t, "have")
		wp, wm := draw(t, "want")
		have, want := makeEnv(hp), makeEnv(wp)
		if diff := cmp.Diff(hm, asMap(have)); diff != "" {
			t.Fatal(diff)
		}
		if n := len(envParams(have)); n != len(hm) {
			t.Fatalf("%d entries for %d names", n, len(hm))
		}
		byName := func(a, b param) int { return strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) }
		if !slices.IsSortedFunc(envParams(have), byName) {
			t.Fatal("not sorted")
		}
		// Setting one by one gives the same as making at once, except for the spelling of names.
		e := noEnv
		for _, p := range hp {
			e = envSet(e, p.name, p.value)
		}
		if diff := cmp.Diff(hm, asMap(e)); diff != "" {
			t.Fatal(diff)
		}
		if e2 := makeEnv(envParams(e)); e2 != e {
			t.Fatal("equal lists are not one env")
		}
		for k, v := range hm {
			if got, ok := envGet(have, strings.ToUpper(k)); !ok || got != v {
				t.Fatalf("%s is %q, %t; want %q", k, got, ok, v)
			}
		}
		set, reset := envDiff(have, want)
		now := maps.Clone(hm)
		for _, n := range reset {
			delete(now, strings.ToLower(n))
		}
		for _, p := range set {
			if old, ok := now[strings.ToLower(p.name)]; ok && old == p.value {
				t.Fatalf("%s is set to what it is", p.name)
			}
			now[strings.ToLower(p.name)] = p.value
		}
		if diff := cmp.Diff(wm, now); diff != "" {
			t.Fatal(diff)
		}
		s := newSession(have)
		s.set("DateStyle", "z")
		if s.stmt != envKeep(s.all, isAnalysis) {
			t.Fatal("the part that statements depend on was not kept in step")
		}
	})
}

// parseArray reads a one-dimensional array of PostgreSQL's as array_in does, for quoted elements and NULL.
func parseArray(s string) ([]*string, error) {
	s, ok := strings.CutPrefix(s, "{")
	if !ok {
		return nil, fmt.Errorf("no {")
	}
	var out []*string
	for s != "}" {
		if len(out) > 0 {
			if s, ok = strings.CutPrefix(s, ","); !ok {
				return nil, fmt.Errorf("no , before %q", s)
			}
		}
		if rest, ok := strings.CutPrefix(s, "NULL"); ok {
			out, s = append(out, nil), rest
			continue
		}
		if s, ok = strings.CutPrefix(s, `"`); !ok {
			return nil, fmt.Errorf("unquoted %q", s)
		}
		var b strings.Builder
		for ; s != "" && s[0] != '"'; s = s[1:] {
			if s[0] == '\\' {
				s = s[1:]
			}
			if s == "" {
				break
			}
			b.WriteByte(s[0])
		}
		if s, ok = strings.CutPrefix(s, `"`); !ok {
			return nil, fmt.Errorf("no closing quote")
		}
		v := b.String()
		out = append(out, &v)
	}
	return out, nil
}

func TestTextArrayReadsBackAsWhatItWasMadeOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.Ptr(rapid.StringOf(rapid.SampledFrom([]rune(`ab"\{},NUL '`+"\n\tä"))), true), 0, 6).Draw(t, "values")
		s := textArray(len(in), func(i int) *string { return in[i] })
		out, err := parseArray(s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if len(in) == 0 {
			in = nil
		}
		if diff := cmp.Diff(in, out); diff != "" {
			t.Fatalf("%s: %s", s, diff)
		}
	})
}

func TestWaitListIsFirstInFirstOut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l waitList
		var model []*client
		t.Repeat(map[string]func(*rapid.T){
			"push": func(*rapid.T) { c := &client{}; l.push(c); model = append(model, c) },
			"remove": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("empty")
				}
				i := rapid.IntRange(0, len(model)-1).Draw(t, "i")
				l.remove(model[i])
				if model[i].wait.queued || model[i].wait.next != nil || model[i].wait.prev != nil {
					t.Fatal("a removed client is still tied to the queue")
				}
				model = slices.Delete(model, i, i+1)
			},
			"": func(t *rapid.T) {
				var got, back []*client
				for c := l.head; c != nil; c = c.wait.next {
					got = append(got, c)
				}
				for c := l.tail; c != nil; c = c.wait.prev {
					back = append(back, c)
				}
				slices.Reverse(back)
				if !slices.Equal(got, model) || !slices.Equal(back, model) || l.n != len(model) {
					t.Fatalf("%d clients, want %d in order", len(got), len(model))
				}
			},
		})
	})
}

func TestInbufKeepsBytesAndGivesItsMemoryBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pool := &bufPool{}
		in := &inbuf{pool: pool}
		var model []byte
		next := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) {
				room := in.room()
				if len(room) == 0 && !in.full() {
					t.Fatal("no room although it is not full")
				}
				n := rapid.IntRange(0, len(room)).Draw(t, "n")
				for i := range n {
					next++
					room[i] = next
				}
				in.w += n
				model = append(model, room[:n]...)
			},
			"consume": func(t *rapid.T) {
				n := rapid.IntRange(0, in.len()).Draw(t, "n")
				in.r += n
				model = model[n:]
			},
			"grow": func(t *rapid.T) { in.room(); in.grow(rapid.IntRange(in.len(), in.len()+2*bigBufSize).Draw(t, "n")) },
			"rest": func(t *rapid.T) {
				in.rest()
				if in.empty() && (in.b != nil || pool.inUse() != 0) {
					t.Fatal("memory is kept")
				}
			},
			"": func(t *rapid.T) {
				if string(in.bytes()) != string(model) || in.empty() != (len(model) == 0) {
					t.Fatalf("%d bytes, want %d", in.len(), len(model))
				}
				if pool.inUse() < 0 || pool.inUse() > 1 {
					t.Fatalf("%d buffers in use", pool.inUse())
				}
			},
		})
		in.r, in.w = 0, 0
		in.free()
		if pool.inUse() != 0 {
			t.Fatal("the buffer was not given back")
		}
	})
}

func TestDataRowSplitsFields(t *testing.T) {
	t.Parallel()
	a, empty := "a", ""
	for _, tc := range []struct {
		name string
		in   string
		want []*string
		bad  bool
	}{
		{name: "no fields", in: "\x00\x00", want: []*string{}},
		{name: "value, null, empty", in: "\x00\x03\x00\x00\x00\x01a\xff\xff\xff\xff\x00\x00\x00\x00", want: []*string{&a, nil, &empty}},
		{name: "nothing", in: "", bad: true},
		{name: "length cut off", in: "\x00\x01\x00\x00", bad: true},
		{name: "value cut off", in: "\x00\x01\x00\x00\x00\x05ab", bad: true},
		{name: "more fields than bytes", in: "\xff\xff", bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := dataRow([]byte(tc.in))
			if (err != nil) != tc.bad {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" && !tc.bad {
				t.Error(diff)
			}
		})
	}
}

func TestQueriesOfOursAreWellFormed(t *testing.T) {
	t.Parallel()
	v := "it's"
	for _, b := range [][]byte{
		appendQuery(nil, "select 1"), query(setQuery, []string{"role", "x"}, []*string{nil, &v}), query(askQuery, []string{"role"}, nil),
		extendedQuery("select $1", "a\"b", ""), appendCloseStatement(nil, "s"), appendParameterStatus(nil, "a", "b"), appendReady(nil, 'I'),
		appendBackendKey(nil, make([]byte, longKeyLen)), (&Error{Severity: "FATAL", Code: "08P01", Message: "m\x00m", Detail: "d", Hint: "h"}).message(),
	} {
		for rest := b; len(rest) > 0; {
			if len(rest) < headerLen {
				t.Fatalf("%q ends in %q", b, rest)
			}
			n := int(binary.BigEndian.Uint32(rest[1:])) + 1
			if n < headerLen || n > len(rest) {
				t.Fatalf("%q has a message of %d bytes", b, n)
			}
			rest = rest[n:]
		}
	}
}
