package shard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgdrover/internal/pgtest"
)

// writer makes random statements over the tables of testdata/plan/select.txtar.
type writer struct {
	r     *rand.Rand
	depth int
	next  int
}

// source is a table or subquery in FROM with its columns of numbers.
type writtenSource struct {
	text, name string
	columns    []string
}

func (w *writer) pick(list ...string) string { return list[w.r.IntN(len(list))] }

// column prefers columns that may be a key.
func (w *writer) column(list ...string) string {
	if w.chance(60) {
		var keys []string
		for _, c := range list {
			if strings.HasSuffix(c, ".customer_id") || strings.HasSuffix(c, ".id") || strings.HasSuffix(c, ".a") {
				keys = append(keys, c)
			}
		}
		if len(keys) > 0 {
			return w.pick(keys...)
		}
	}
	return w.pick(list...)
}

func (w *writer) chance(percent int) bool { return w.r.IntN(100) < percent }

func (w *writer) alias() string {
	w.next++
	return "t" + strconv.Itoa(w.next)
}

func (w *writer) number() string {
	return w.pick("1", "2", "3", "4", "5", "'2'", "'3'::int", "4::bigint", "NULL", "-1", "2.0")
}

// table returns something for FROM; outer are the columns that it may use if it is LATERAL.
func (w *writer) table(outer []string) writtenSource {
	s := writtenSource{name: w.alias()}
	if w.depth < 3 && w.chance(25) {
		lateral := ""
		if len(outer) > 0 && w.chance(50) {
			lateral = "LATERAL "
		} else {
			outer = nil
		}
		text, columns := w.query(outer, true)
		s.text, s.columns = lateral+"("+text+") "+s.name, columns
		return s
	}
	switch w.r.IntN(8) {
	case 0, 1:
		s.text, s.columns = "customers "+s.name, []string{"id", "parent"}
	case 2, 3, 4:
		s.text, s.columns = "orders "+s.name, []string{"customer_id", "id", "total"}
	case 5, 6:
		s.text, s.columns = "items "+s.name, []string{"customer_id", "order_id", "n"}
	default:
		s.text, s.columns = w.pick("generate_series(1, 3) ", "(VALUES (1), (2), (NULL)) ")+s.name+"(v)", []string{"v"}
	}
	return s
}

func (s *writtenSource) all() []string {
	var list []string
	for _, c := range s.columns {
		list = append(list, s.name+"."+c)
	}
	return list
}

func (s *writtenSource) has(column string) bool { return contains(s.columns, column) }

func countSuffix(list []string, suffix string) int {
	n := 0
	for _, s := range list {
		if strings.HasSuffix("."+s, suffix) {
			n++
		}
	}
	return n
}

// from returns FROM and the columns that it has.
func (w *writer) from(outer []string) (string, []string) {
	first := w.table(outer)
	text, columns := first.text, first.all()
	for w.chance(45) {
		right := w.table(append(append([]string{}, outer...), columns...))
		join := w.pick("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", ",")
		if strings.HasPrefix(right.text, "LATERAL") && (join == "RIGHT JOIN" || join == "FULL JOIN") {
			join = "LEFT JOIN"
		}
		all := append(append([]string{}, columns...), right.all()...)
		switch {
		case join == ",":
			text += " CROSS JOIN " + right.text
		case join != "," && right.has("customer_id") && countSuffix(columns, ".customer_id") == 1 && w.chance(40):
			text = "(" + text + " " + join + " " + right.text + " USING (customer_id))"
			all = append(all, "customer_id")
		case join == "FULL JOIN": // only what can be hashed
			text += " FULL JOIN " + right.text + " ON " + w.pick(columns...) + " = " + w.pick(right.all()...)
		default:
			on := w.condition(all, 2)
			if w.chance(70) {
				on = w.column(columns...) + " = " + w.column(right.all()...) + w.pick("", " AND "+on)
			}
			text += " " + join + " " + right.text + " ON " + on
		}
		columns = all
	}
	return text, columns
}

func (w *writer) condition(columns []string, size int) string {
	if size > 0 && w.chance(45) {
		l, r := w.condition(columns, size-1), w.condition(columns, size-1)
		switch w.r.IntN(8) {
		case 0:
			return "(" + l + " OR " + r + ")"
		case 1:
			return "NOT (" + l + ")"
		case 2:
			return "CASE WHEN " + l + " THEN " + r + " ELSE false END"
		default:
			return "(" + l + " AND " + r + ")"
		}
	}
	c := w.column(columns...)
	switch w.r.IntN(14) {
	case 0, 1, 2, 3:
		return c + " = " + w.number()
	case 4, 5:
		return c + " = " + w.column(columns...)
	case 6:
		return c + w.pick(" IN (", " NOT IN (") + w.number() + ", " + w.number() + ")"
	case 7:
		return c + " = ANY ('{" + w.pick("1", "2", "1,2", "3,NULL", "") + "}'::int[])"
	case 8:
		return c + w.pick(" > ", " <= ", " <> ", " IS NOT DISTINCT FROM ") + w.number()
	case 9:
		return c + w.pick(" IS NULL", " IS NOT NULL")
	case 10, 11:
		if w.depth < 3 {
			text, _ := w.query(columns, false)
			return w.pick("", "NOT ") + "EXISTS (" + text + ")"
		}
	case 12:
		if w.depth < 3 {
			text, sub := w.query(columns, true)
			s := w.alias()
			return c + w.pick(" IN ", " NOT IN ") + "(SELECT " + s + "." + sub[0] + " FROM (" + text + ") " + s + ")"
		}
	}
	return "(" + c + ", " + w.pick(columns...) + ") = (" + w.number() + ", " + w.number() + ")"
}

// query returns a SELECT and its columns of numbers.
func (w *writer) query(outer []string, named bool) (string, []string) {
	w.depth++
	defer func() { w.depth-- }()
	from, columns := w.from(outer)
	where := ""
	if w.chance(85) {
		where = " WHERE " + w.condition(append(append([]string{}, columns...), outer...), 3)
	}
	names := []string{"a", "b"}
	x, y := w.pick(columns...), w.pick(append(columns, outer...)...)
	switch {
	case w.chance(10):
		return "SELECT " + x + " AS a, count(" + y + ") AS b FROM " + from + where + " GROUP BY " + x, names
	case w.chance(6):
		return "SELECT max(" + x + ") AS a, count(*) AS b FROM " + from + where, names
	case w.chance(8):
		return "SELECT DISTINCT " + x + " AS a, " + y + " AS b FROM " + from + where, names
	case w.depth < 3 && w.chance(8):
		other, _ := w.query(outer, named)
		return "SELECT " + x + " AS a, " + y + " AS b FROM " + from + where + w.pick(" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT ") + "SELECT a, b FROM (" + other + ") " + w.alias(), names
	case w.depth < 3 && w.chance(10):
		sub, _ := w.query(columns, true)
		s := w.alias()
		return "SELECT " + x + " AS a, (SELECT max(" + s + ".b) FROM (" + sub + ") " + s + ") AS b FROM " + from + where, names
	}
	return "SELECT " + x + " AS a, " + y + " AS b FROM " + from + where, names
}

func (w *writer) statement() string {
	w.depth, w.next = 0, 0
	if w.chance(12) {
		inner, _ := w.query(nil, true)
		outer, _ := w.query(nil, true)
		return "WITH c AS " + w.pick("", "MATERIALIZED ") + "(" + inner + ") SELECT x.a, x.b, c.b FROM (" + outer + ") x " + w.pick("JOIN", "LEFT JOIN") + " c ON c.a = x.a"
	}
	if w.chance(10) {
		return w.pick("DELETE FROM orders o", "UPDATE orders o SET total = 7") + " WHERE " + w.condition([]string{"o.customer_id", "o.id", "o.total"}, 3)
	}
	text, _ := w.query(nil, true)
	return text
}

// Random statements are answered as one PostgreSQL answers them, or refused. SEED repeats a run, COUNT makes it longer.
func TestRandomStatements(t *testing.T) {
	t.Parallel()
	count := 250
	if n, err := strconv.Atoi(os.Getenv("COUNT")); err == nil {
		count = n
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = n
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(count)*50*time.Millisecond)
	defer cancel()
	raw, err := os.ReadFile("testdata/plan/select.txtar")
	if err != nil {
		t.Fatal(err)
	}
	parts := readParts(string(raw))
	cluster := pgtest.Start(t)
	t.Run("hash", func(t *testing.T) {
		randomStatements(ctx, t, newFixture(ctx, t, cluster, "hash", parts["schema.sql"], parts["map"]), seed, count)
	})
	t.Run("list with NULL", func(t *testing.T) {
		schema := strings.NewReplacer("bigint PRIMARY KEY", "bigint", "NOT NULL", "", ", PRIMARY KEY (customer_id, id)", "").Replace(parts["schema.sql"]) + `
			INSERT INTO customers VALUES (NULL, 'none', 'de', 3), (NULL, 'none', NULL, NULL);
			INSERT INTO orders VALUES (NULL, 50, 3, 'x'), (NULL, 51, NULL, NULL);
			INSERT INTO items VALUES (NULL, 2, 'x', 3);`
		place := parts["map"] + "place customer a FOR VALUES IN (1, 2, 3, 11), b FOR VALUES IN (4, 5, NULL), c DEFAULT\n"
		randomStatements(ctx, t, newFixture(ctx, t, cluster, "list", schema, place), seed, count)
	})
	t.Run("range", func(t *testing.T) {
		place := parts["map"] + "place customer a FOR VALUES FROM (MINVALUE) TO (3), b FOR VALUES FROM (3) TO (6), c FOR VALUES FROM (6) TO (MAXVALUE)\n"
		randomStatements(ctx, t, newFixture(ctx, t, cluster, "range", parts["schema.sql"], place), seed, count)
	})
}

func randomStatements(ctx context.Context, t *testing.T, fx *fixture, seed uint64, count int) {
	t.Helper()
	w := &writer{r: rand.New(rand.NewPCG(seed, 1))}
	refused := map[string]int{}
	answered := map[Kind]int{}
	for range count {
		c := planCase{statement: w.statement()}
		if stmts, err := fx.plans(ctx, &c); err == nil {
			answered[stmts[0].Plan.Kind]++
		} else {
			refused[err.(*Error).Construct]++ //nolint:errorlint // Query returns nothing else here
		}
		fx.compare(ctx, t, &c)
		if t.Failed() {
			t.Fatalf("SEED=%d", seed)
		}
	}
	t.Log(fmt.Sprint("SEED=", seed, " answered ", answered, " refused ", refused, " ran ", fx.ran))
	if fx.ran*8 < count || answered[Forward]*50 < count || answered[Gather]*50 < count {
		t.Errorf("too little was answered: %v", answered)
	}
}
