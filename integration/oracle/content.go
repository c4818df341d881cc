package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A database is one of a world's databases, looked at past pgdrover.
type database struct {
	name  string
	conn  *pgx.Conn
	shard int        // -1 for the plain one
	check string     // the query that sums the tables up
	first []sum      // of the rows to begin with
	rows  [][]string // these rows as text, by table
}

// templateSQL makes, for every sharded table, a partitioned table without partitions that satisfies_hash_partition can be asked about.
func templateSQL() string {
	var b strings.Builder
	b.WriteString("CREATE SCHEMA shadow;\n")
	for _, tb := range tables {
		if tb.family != "" {
			fmt.Fprintf(&b, "CREATE TABLE shadow.%s (LIKE public.%s) PARTITION BY HASH (%s);\n", tb.name, tb.name, strings.Join(tb.key, ", "))
		}
	}
	return b.String()
}

// conditions says for every table and bound which rows belong there, in PostgreSQL's own words: a partition's constraint.
func conditions(ctx context.Context, conn *pgx.Conn, t *topology) (map[string][]string, error) {
	out := map[string][]string{}
	for _, tb := range tables {
		if tb.family == "" {
			continue
		}
		bounds := t.bounds(tb.family)
		by := method(bounds)
		if by != "HASH" {
			if _, err := conn.Exec(ctx, fmt.Sprintf("CREATE TABLE shadow.%s_place (LIKE public.%s) PARTITION BY %s (%s)", tb.name, tb.name, by, strings.Join(tb.key, ", "))); err != nil {
				return nil, err
			}
		}
		for i, x := range bounds {
			if by == "HASH" {
				var m, r int
				if _, err := fmt.Sscanf(x.text, "FOR VALUES WITH (MODULUS %d, REMAINDER %d)", &m, &r); err != nil {
					return nil, fmt.Errorf("%s: %w", x.text, err)
				}
				out[tb.name] = append(out[tb.name], fmt.Sprintf("satisfies_hash_partition('shadow.%s'::regclass, %d, %d, %s)", tb.name, m, r, strings.Join(tb.key, ", ")))
				continue
			}
			name := fmt.Sprintf("shadow.%s_%d", tb.name, i)
			if _, err := conn.Exec(ctx, fmt.Sprintf("CREATE TABLE %s PARTITION OF shadow.%s_place %s", name, tb.name, x.text)); err != nil {
				return nil, err
			}
			out[tb.name] = append(out[tb.name], "")
		}
		for i := range bounds {
			if by == "HASH" {
				break
			}
			// Only now, because the DEFAULT's depends on the others.
			def := ""
			if err := conn.QueryRow(ctx, fmt.Sprintf("SELECT coalesce(pg_get_partition_constraintdef('shadow.%s_%d'::regclass), 'true')", tb.name, i)).Scan(&def); err != nil {
				return nil, err
			}
			out[tb.name][i] = "(" + def + ")"
		}
	}
	return out, nil
}

// prepare takes out rows that belong elsewhere and remembers the rest.
func (d *database) prepare(ctx context.Context, t *topology, where map[string][]string) error {
	var remove strings.Builder
	var sums []string
	for _, tb := range tables {
		belong := "true"
		switch {
		case tb.family != "":
			own := []string{"false"}
			for i, x := range t.bounds(tb.family) {
				if d.shard < 0 || x.shard == d.shard {
					own = append(own, where[tb.name][i])
				}
			}
			belong = "coalesce(" + strings.Join(own, " OR ") + ", false)"
		case tb.single && d.shard > 0:
			belong = "false"
		}
		fmt.Fprintf(&remove, "DELETE FROM public.%s WHERE NOT %s;\n", tb.name, belong)
		sums = append(sums, fmt.Sprintf("SELECT count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint), 0)::text, count(*) FILTER (WHERE NOT %s) FROM public.%s t", belong, tb.name))
	}
	d.check = strings.Join(sums, " UNION ALL ")
	if _, err := d.conn.Exec(ctx, remove.String()); err != nil {
		return err
	}
	for _, tb := range tables {
		d.rows = append(d.rows, d.table(ctx, tb.name))
	}
	var err error
	d.first, err = d.sums(ctx)
	return err
}

// reset brings back the first rows of tables that have others.
func (d *database) reset(ctx context.Context) error {
	now, err := d.sums(ctx)
	if err != nil {
		return err
	}
	for i, tb := range tables {
		if now[i] == d.first[i] {
			continue
		}
		if _, err := d.conn.Exec(ctx, "DELETE FROM public."+tb.name); err != nil {
			return err
		}
		if _, err := d.conn.Exec(ctx, fmt.Sprintf("INSERT INTO public.%s SELECT (r).* FROM (SELECT unnest($1::text[])::public.%s AS r) x", tb.name, tb.name), d.rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// A sum is what a table of one database comes to.
type sum struct {
	rows, misplaced int64
	digest          string
}

func (d *database) sums(ctx context.Context) ([]sum, error) {
	rows, err := d.conn.Query(ctx, d.check, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (s sum, err error) {
		err = r.Scan(&s.rows, &s.digest, &s.misplaced)
		return s, err
	})
}

// table is all rows of a table as text.
func (d *database) table(ctx context.Context, table string) []string {
	rows, err := d.conn.Query(ctx, "SELECT t::text FROM public."+table+" t", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return []string{err.Error()}
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return []string{err.Error()}
	}
	return list
}

// compareContents compares the tables of the shards with those of the plain database, and looks whether each row is in its place.
func (w *World) compareContents(ctx context.Context) (*difference, error) {
	plain, err := w.plain.sums(ctx)
	if err != nil {
		return nil, err
	}
	shards := make([][]sum, len(w.shards))
	for i, d := range w.shards {
		if shards[i], err = d.sums(ctx); err != nil {
			return nil, err
		}
	}
	for i, tb := range tables {
		var n int64
		for s := range w.shards {
			if m := shards[s][i].misplaced; m > 0 {
				return &difference{kind: "content", text: fmt.Sprintf("%s: %d rows of shard %s belong elsewhere", tb.name, m, shardName(s))}, nil
			}
			n += shards[s][i].rows
			if tb.family == "" && (!tb.single || s == 0) && shards[s][i] != plain[i] {
				return &difference{kind: "content", text: tb.name + " of shard " + shardName(s) + ": " + rowsDiffer(w.shards[s].table(ctx, tb.name), w.plain.table(ctx, tb.name))}, nil
			}
		}
		if tb.family == "" {
			continue
		}
		if n == plain[i].rows && w.sameDigest(shards, i, plain[i].digest) {
			continue
		}
		var all []string
		for _, d := range w.shards {
			all = append(all, d.table(ctx, tb.name)...)
		}
		return &difference{kind: "content", text: tb.name + ": " + rowsDiffer(all, w.plain.table(ctx, tb.name))}, nil
	}
	return nil, nil
}

// sameDigest adds the shards' digests up, which are too large for an int64.
func (w *World) sameDigest(shards [][]sum, table int, want string) bool {
	var digests []string
	for s := range shards {
		digests = append(digests, shards[s][table].digest)
	}
	return addDecimal(digests) == want
}

// addDecimal adds numbers without sign.
func addDecimal(list []string) string {
	var total []byte // lowest digit first
	for _, n := range list {
		carry := 0
		for i := 0; i < max(len(n), len(total)) || carry > 0; i++ {
			if i == len(total) {
				total = append(total, 0)
			}
			digit := int(total[i]) + carry
			if i < len(n) {
				digit += int(n[len(n)-1-i] - '0')
			}
			total[i], carry = byte(digit%10), digit/10
		}
	}
	slices.Reverse(total)
	out := make([]byte, len(total))
	for i, d := range total {
		out[i] = '0' + d
	}
	if s := strings.TrimLeft(string(out), "0"); s != "" {
		return s
	}
	return "0"
}
