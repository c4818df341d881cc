package oracle

import (
	"fmt"
	"strings"
)

// A bound is one entry of a placement: a partition bound in PostgreSQL's syntax and the shard that has it.
type bound struct {
	shard int
	text  string // FOR VALUES … or DEFAULT
}

// A topology is a number of shards and what is on them.
type topology struct {
	name   string
	shards int
	place  map[string]func(shards int) []bound // by family; hash over the shards in order where there is none
}

// topologies are the ways to spread the rows.
var topologies = []topology{
	{name: "one shard", shards: 1},
	{name: "two shards", shards: 2, place: map[string]func(int) []bound{
		"customer": moduli("2,0", "4,1", "4,3"), "word": list([]string{"a", "b", "x", "東京"}, []string{"A", "yy", "🙂"}, nil),
		"day":    ranges("MINVALUE, MINVALUE", "'2024-01-01', 'a'", "'2024-01-01', 'b'", "MAXVALUE, MAXVALUE"),
		"k_date": ranges("MINVALUE", "'2024-01-01'", "MAXVALUE"), "k_boolean": list([]string{"true"}, []string{"false"}),
		"k_smallint": list([]string{"0", "1", "2"}, []string{"3", "-1"}, nil),
	}},
	{name: "three shards", shards: 3, place: map[string]func(int) []bound{
		"customer": ranges("MINVALUE", "0", "5", "10", "20", "MAXVALUE"), "k_integer": list([]string{"0", "1", "2"}, []string{"3", "4"}, []string{"5", "7"}),
		"k_timestamp": ranges("MINVALUE", "'2024-01-01'", "'2024-02-01'", "MAXVALUE"), "k_numeric": ranges("MINVALUE", "0", "1.5", "MAXVALUE"),
		"k_smallint": ranges("MINVALUE", "0", "5", "30000"), "k_varchar": list([]string{"a", "A"}, []string{"b", "x"}, nil),
		"event": moduli("2,1", "4,0", "8,2", "8,6"), "k_uuid": ranges("MINVALUE", "'11111111-1111-1111-1111-111111111111'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'", "MAXVALUE"),
	}},
	{name: "five shards", shards: 5, place: map[string]func(int) []bound{
		"customer": moduli("4,0", "4,1", "4,2", "8,3", "8,7"), "k_bigint": ranges("MINVALUE", "-1", "2", "5", "8", "20"), "k_text": moduli("5,4", "5,3", "5,2", "5,1", "5,0"),
		"k_timestamptz": ranges("MINVALUE", "'1970-01-01 00:00:00+00'", "'2024-01-01 00:00:00+00'", "'2024-01-01 00:00:01+00'", "MAXVALUE"), "k_inet": list([]string{"10.0.0.1", "::1"}, nil),
		"k_oid": ranges("MINVALUE", "5", "6", "MAXVALUE"), "k_bytea": list([]string{`\x00`}, []string{`\x01`, `\x61`}, nil), "k_time": ranges("MINVALUE", "'12:00'", "'12:30'", "MAXVALUE"),
	}},
}

// moduli are hash bounds "modulus,remainder", on the shards in turn.
func moduli(pairs ...string) func(int) []bound {
	return func(n int) (out []bound) {
		for i, p := range pairs {
			m, r, _ := strings.Cut(p, ",")
			out = append(out, bound{i % n, fmt.Sprintf("FOR VALUES WITH (MODULUS %s, REMAINDER %s)", m, r)})
		}
		return out
	}
}

// ranges are bounds between neighbours, on the shards in turn.
func ranges(edges ...string) func(int) []bound {
	return func(n int) (out []bound) {
		for i := range len(edges) - 1 {
			out = append(out, bound{i % n, fmt.Sprintf("FOR VALUES FROM (%s) TO (%s)", edges[i], edges[i+1])})
		}
		return out
	}
}

// list are bounds of values, on the shards in turn; no values are the DEFAULT.
func list(values ...[]string) func(int) []bound {
	return func(n int) (out []bound) {
		for i, v := range values {
			b := bound{shard: i % n, text: "DEFAULT"}
			if len(v) > 0 {
				quoted := make([]string, len(v))
				for j := range v {
					quoted[j] = quote(v[j])
				}
				b.text = "FOR VALUES IN (" + strings.Join(quoted, ", ") + ")"
			}
			out = append(out, b)
		}
		return out
	}
}

// bounds is the placement of a family.
func (t *topology) bounds(family string) []bound {
	if f := t.place[family]; f != nil {
		return f(t.shards)
	}
	var pairs []string
	for i := range t.shards {
		pairs = append(pairs, fmt.Sprintf("%d,%d", t.shards, i))
	}
	return moduli(pairs...)(t.shards)
}

// method is the word that PARTITION BY wants.
func method(bounds []bound) string {
	for _, b := range bounds {
		for word, m := range map[string]string{"WITH": "HASH", "FROM": "RANGE", "IN": "LIST"} {
			if strings.HasPrefix(b.text, "FOR VALUES "+word+" ") {
				return m
			}
		}
	}
	return "LIST"
}

func shardName(i int) string { return string(rune('a' + i)) }

// toml is the sharded database's part of a configuration; ports has the port of each shard.
func (t *topology) toml(name, dbPrefix string, ports []int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[databases.%s]\nhost = \"127.0.0.1\"\nport = %d\nreference_tables = [\"countries\"]\ndefault_shard = \"a\"\nrecovery_user = \"postgres\"\n", name, ports[0])
	for i := range t.shards {
		fmt.Fprintf(&b, "[[databases.%s.shards]]\nname = %q\nport = %d\ndbname = %q\n", name, shardName(i), ports[i], dbPrefix+shardName(i))
	}
	names, of := families()
	for _, f := range names {
		fmt.Fprintf(&b, "[databases.%s.keys.%q]\n", name, f)
		first := of[f][0]
		var types, columns []string
		for _, k := range first.key {
			types = append(types, fmt.Sprintf("%q", first.column(k).kind.name))
		}
		fmt.Fprintf(&b, "type = [%s]\n", strings.Join(types, ", "))
		for _, tb := range of[f] {
			var key []string
			for _, k := range tb.key {
				key = append(key, fmt.Sprintf("%q", k))
			}
			columns = append(columns, fmt.Sprintf("%s = [%s]", tb.name, strings.Join(key, ", ")))
		}
		fmt.Fprintf(&b, "columns = { %s }\n", strings.Join(columns, ", "))
		if t.place[f] == nil {
			continue
		}
		var placed []string
		for _, x := range t.bounds(f) {
			placed = append(placed, fmt.Sprintf("%q", shardName(x.shard)+" "+x.text))
		}
		fmt.Fprintf(&b, "placement = [%s]\n", strings.Join(placed, ", "))
	}
	return b.String()
}
