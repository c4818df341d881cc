package shard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pgdrover/internal/config"
)

func TestMovedFromNamesWhatIsLookedForElsewhere(t *testing.T) {
	t.Parallel()
	const hash = "shards a b c\nkey customer bigint orders:customer_id\nplace customer a FOR VALUES WITH (MODULUS 2, REMAINDER 0), b FOR VALUES WITH (MODULUS 2, REMAINDER 1)\n"
	const ranges = "shards a b c\nkey day bigint logs:day\nplace day a FOR VALUES FROM (MINVALUE) TO (10), b FOR VALUES FROM (10) TO (20)\n"
	const list = "shards a b c\nkey land text shops:land\nplace land a FOR VALUES IN ('DE', NULL), b FOR VALUES IN ('FR', 'IT'), c DEFAULT\n"
	for name, c := range map[string]struct {
		before, after string
		want          []string
	}{
		"nothing": {hash, hash, nil},
		"a bound is split and stays": {hash, strings.Replace(hash, "b FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
			"b FOR VALUES WITH (MODULUS 4, REMAINDER 1), b FOR VALUES WITH (MODULUS 4, REMAINDER 3)", 1), nil},
		"a part of a bound moves": {
			hash, strings.Replace(hash, "b FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
				"b FOR VALUES WITH (MODULUS 4, REMAINDER 1), c FOR VALUES WITH (MODULUS 4, REMAINDER 3)", 1),
			[]string{`key "customer": FOR VALUES WITH (MODULUS 4, REMAINDER 3) is on shard "c" now, and rows of it were on shard "b"`},
		},
		"another modulus": {"shards a b\nkey customer bigint orders:customer_id", "shards a b c\nkey customer bigint orders:customer_id", []string{
			`key "customer": FOR VALUES WITH (MODULUS 3, REMAINDER 0) is on shard "a" now, and rows of it were on shard "b"`,
			`key "customer": FOR VALUES WITH (MODULUS 3, REMAINDER 1) is on shard "b" now, and rows of it were on shard "a"`,
			`key "customer": FOR VALUES WITH (MODULUS 3, REMAINDER 2) is on shard "c" now, and rows of it were on shard "a"`,
			`key "customer": FOR VALUES WITH (MODULUS 3, REMAINDER 2) is on shard "c" now, and rows of it were on shard "b"`,
		}},
		"no table carries the key": {"shards a b\nkey customer bigint", "shards a b c\nkey customer bigint", nil},
		"another name for a key":   {hash, strings.ReplaceAll(hash, "customer ", "client "), nil},
		"another type": {hash, strings.Replace(hash, "bigint", "text", 1), []string{
			`key "customer": it is of type ["text"] now, and was of ["bigint"], whose values have other places`,
		}},
		"another kind": {ranges, strings.Replace(ranges, "a FOR VALUES FROM (MINVALUE) TO (10), b FOR VALUES FROM (10) TO (20)", "a FOR VALUES IN (1)", 1), []string{
			`key "day": it is placed by list now, and was by range`,
		}},
		"a new range": {ranges, strings.TrimSpace(ranges) + ", c FOR VALUES FROM (20) TO (30)", nil},
		"a new range above DEFAULT": {strings.TrimSpace(ranges) + ", a DEFAULT", strings.TrimSpace(ranges) + ", a DEFAULT, c FOR VALUES FROM (20) TO (30)", []string{
			`key "day": FOR VALUES FROM (20) TO (30) is on shard "c" now, and rows of it were on shard "a"`,
		}},
		"a border between ranges": {ranges, strings.ReplaceAll(ranges, "(10)", "(15)"), []string{
			`key "day": FOR VALUES FROM (MINVALUE) TO (15) is on shard "a" now, and rows of it were on shard "b"`,
		}},
		"a range that is gone": {ranges, strings.Replace(ranges, ", b FOR VALUES FROM (10) TO (20)", "", 1), []string{
			`key "day": FOR VALUES FROM (10) TO (20) has no shard now, and was on shard "b"`,
		}},
		"a value of a list": {list, strings.Replace(strings.Replace(list, "'FR', ", "", 1), "'DE', NULL", "'DE', 'FR', 'ES'", 1), []string{
			`key "land": FOR VALUES IN ('DE', 'FR', 'ES') is on shard "a" now, and rows of it were on shard "c"`,
			`key "land": FOR VALUES IN ('DE', 'FR', 'ES') is on shard "a" now, and rows of it were on shard "b"`,
			`key "land": DEFAULT is on shard "c" now, and rows of it were on shard "a"`,
		}},
		"a table": {hash + "reference countries\n", hash + "default b\n", []string{
			`rows of table countries are looked for on shard "b" now, and were on every shard`,
		}},
		"another column": {hash, strings.Replace(hash, ":customer_id", ":payer", 1), []string{
			`rows of table orders are looked for by key "customer" in ["payer"] now, and were by key "customer" in ["customer_id"]`,
		}},
		"schemas and the default": {hash + "schema logs a\nschema old a\ndefault b\n", hash + "schema logs b\nschema fresh a\ndefault c\n", []string{
			`tables of schema fresh are looked for on shard "a" now, and were on shard "b"`,
			`tables of schema logs are looked for on shard "b" now, and were on shard "a"`,
			`tables of schema old are looked for on shard "c" now, and were on shard "a"`,
			`tables that are listed nowhere are looked for on shard "c" now, and were on shard "b"`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, m := range readMap(t, c.after).MovedFrom(readMap(t, c.before)) {
				got = append(got, m.Message)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A value has another shard than before if and only if a bound says so.
func TestMovedFromFindsEveryValueThatMoves(t *testing.T) {
	t.Parallel()
	shards := []string{"a", "b", "c"}
	bare := func(n int) config.BoundValue { return config.BoundValue{Text: fmt.Sprint(n), Bare: true} }
	draw := func(r *rapid.T, kind int) []config.Bound {
		shard := func() string { return rapid.SampledFrom(shards).Draw(r, "shard") }
		var out []config.Bound
		switch kind {
		case 0:
			m := rapid.IntRange(1, 6).Draw(r, "modulus")
			for i := range m {
				if rapid.IntRange(0, 3).Draw(r, "split") == 0 {
					out = append(out, config.Bound{Shard: shard(), Modulus: 2 * m, Remainder: i}, config.Bound{Shard: shard(), Modulus: 2 * m, Remainder: i + m})
					continue
				}
				out = append(out, config.Bound{Shard: shard(), Modulus: m, Remainder: i})
			}
			return out
		case 1:
			from := rapid.IntRange(0, 10).Draw(r, "from")
			for range rapid.IntRange(0, 3).Draw(r, "ranges") {
				to := from + rapid.IntRange(1, 10).Draw(r, "width")
				out = append(out, config.Bound{Shard: shard(), Kind: config.BoundRange, From: []config.BoundValue{bare(from)}, To: []config.BoundValue{bare(to)}})
				from = to
			}
		default:
			for i := range 30 {
				if rapid.IntRange(0, 4).Draw(r, "listed") == 0 {
					out = append(out, config.Bound{Shard: shard(), Kind: config.BoundList, In: []config.BoundValue{bare(i)}})
				}
			}
		}
		if len(out) == 0 || rapid.Bool().Draw(r, "default") {
			out = append(out, config.Bound{Shard: shard(), Kind: config.BoundDefault})
		}
		return out
	}
	rapid.Check(t, func(r *rapid.T) {
		kind := rapid.IntRange(0, 2).Draw(r, "kind")
		var maps [2]*Map
		for i := range maps {
			d := &config.Database{Name: "shop"}
			for _, name := range shards {
				d.Shards = append(d.Shards, config.Shard{Name: name})
			}
			d.Keys = map[string]config.Key{"k": {
				Types: []string{"bigint"}, Columns: map[config.TableName][]string{{Schema: "public", Name: "t"}: {"k"}}, Bounds: draw(r, kind),
			}}
			m, err := NewMap(d)
			if err != nil {
				r.Fatal(err)
			}
			maps[i] = m
		}
		was, is := maps[0].Key("k"), maps[1].Key("k")
		if was.Kind != is.Kind {
			return // nothing but DEFAULT
		}
		moved := ""
		for i := -5; i < 60; i++ {
			before, ok, err := was.LocateText(fmt.Sprint(i))
			after, still, err2 := is.LocateText(fmt.Sprint(i))
			if err != nil || err2 != nil {
				r.Fatal(err, err2)
			}
			if ok && (!still || before != after) {
				moved += fmt.Sprintf(" %d", i)
			}
		}
		found := maps[1].MovedFrom(maps[0])
		onlyRest := len(found) > 0 // DEFAULT has more values than were looked at
		for _, f := range found {
			onlyRest = onlyRest && strings.Contains(f.Message, "DEFAULT")
		}
		if (moved != "") != (len(found) > 0) && !onlyRest {
			r.Fatalf("values%s move, and MovedFrom says %q", moved, found)
		}
	})
}
