package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A column of a table. Values of small columns may be calculated with: nothing overflows, on no row.
type column struct {
	name  string
	kind  *kind
	null  bool
	small bool
	as    string // the declared type, if it is not kind.name
}

// A table of the schema. Tables with the same family are sharded by the same key.
type table struct {
	name    string
	family  string // name of the sharding key; "" for tables that are not sharded
	key     []string
	primary []string
	columns []column
	rows    int
	single  bool // on one shard, else, without family, a reference table
}

func (t *table) column(name string) *column {
	for i := range t.columns {
		if t.columns[i].name == name {
			return &t.columns[i]
		}
	}
	return nil
}

func (t *table) isKey(name string) bool {
	for _, k := range t.key {
		if k == name {
			return true
		}
	}
	return false
}

// tables is the schema.
var tables = makeTables()

func makeTables() []*table {
	list := []*table{
		{name: "customers", family: "customer", key: []string{"id"}, primary: []string{"id"}, rows: 60, columns: []column{
			{name: "id", kind: kInt8},
			{name: "name", kind: kText, null: true},
			{name: "country", kind: kText, null: true},
			{name: "region", kind: kInt4, null: true, small: true},
			{name: "score", kind: kNumeric, null: true, as: "numeric(12,2)"},
			{name: "born", kind: kDate, null: true},
			{name: "vip", kind: kBool, null: true},
			{name: "email", kind: kVarchar, null: true},
			{name: "tags", kind: kTexts, null: true},
			{name: "meta", kind: kJSONB, null: true},
			{name: "parent_id", kind: kInt8, null: true},
		}},
		{name: "orders", family: "customer", key: []string{"customer_id"}, primary: []string{"customer_id", "id"}, rows: 90, columns: []column{
			{name: "customer_id", kind: kInt8},
			{name: "id", kind: kInt8},
			{name: "total", kind: kNumeric, null: true, as: "numeric(12,2)"},
			{name: "note", kind: kText, null: true},
			{name: "status", kind: kInt2, null: true, small: true},
			{name: "placed", kind: kTimestamp, null: true},
		}},
		{name: "order_items", family: "customer", key: []string{"customer_id"}, primary: []string{"customer_id", "order_id", "line"}, rows: 120, columns: []column{
			{name: "customer_id", kind: kInt8}, {name: "order_id", kind: kInt8}, {name: "line", kind: kInt4, small: true}, {name: "sku", kind: kText, null: true}, {name: "qty", kind: kInt4, null: true, small: true},
		}},
		{name: "notes", family: "customer", key: []string{"owner"}, rows: 40, columns: []column{
			{name: "owner", kind: kInt8, as: "customer_number"}, {name: "body", kind: kText, null: true}, {name: "stars", kind: kInt2, null: true, small: true},
		}},
		{name: "events", family: "event", key: []string{"id"}, primary: []string{"id"}, rows: 7, columns: []column{
			{name: "id", kind: kUUID}, {name: "customer_id", kind: kInt8, null: true}, {name: "what", kind: kText, null: true}, {name: "at", kind: kTimestamptz, null: true}, {name: "n", kind: kInt4, null: true, small: true},
		}},
		{name: "words", family: "word", key: []string{"word"}, primary: []string{"word"}, rows: 30, columns: []column{
			{name: "word", kind: kText}, {name: "body", kind: kText, null: true}, {name: "n", kind: kInt4, null: true, small: true},
		}},
		{name: "hits", family: "day", key: []string{"day", "host"}, primary: []string{"day", "host"}, rows: 50, columns: []column{
			{name: "n", kind: kInt4, null: true, small: true}, {name: "day", kind: kDate}, {name: "host", kind: kText}, {name: "note", kind: kText, null: true},
		}},
		{name: "visits", family: "day", key: []string{"d", "h"}, rows: 50, columns: []column{
			{name: "d", kind: kDate}, {name: "h", kind: kText}, {name: "n", kind: kInt4, null: true, small: true},
		}},
		{name: "countries", primary: []string{"code"}, rows: 12, columns: []column{
			{name: "code", kind: kText}, {name: "name", kind: kText, null: true}, {name: "population", kind: kInt4, null: true, small: true},
		}},
		{name: "settings", single: true, primary: []string{"name"}, rows: 10, columns: []column{
			{name: "name", kind: kText}, {name: "value", kind: kText, null: true}, {name: "n", kind: kInt4, null: true, small: true},
		}},
	}
	for _, k := range keyKinds {
		list = append(list, &table{name: "by_" + k.plain(), family: "k_" + k.plain(), key: []string{"k"}, rows: 24, columns: []column{
			{name: "n", kind: kInt4, null: true, small: true}, {name: "k", kind: k}, {name: "v", kind: kText, null: true},
		}})
	}
	return list
}

func tableNamed(name string) *table {
	for _, t := range tables {
		if t.name == name {
			return t
		}
	}
	return nil
}

// families lists the sharding keys with their tables, in order.
func families() (names []string, of map[string][]*table) {
	of = map[string][]*table{}
	for _, t := range tables {
		if t.family == "" {
			continue
		}
		if of[t.family] == nil {
			names = append(names, t.family)
		}
		of[t.family] = append(of[t.family], t)
	}
	return names, of
}

// createSQL makes the tables.
func createSQL() string {
	var b strings.Builder
	b.WriteString("CREATE DOMAIN customer_number AS bigint;\n")
	for _, t := range tables {
		fmt.Fprintf(&b, "CREATE TABLE %s (", t.name)
		for i, c := range t.columns {
			if i > 0 {
				b.WriteString(", ")
			}
			as := c.as
			if as == "" {
				as = c.kind.name
			}
			b.WriteString(c.name + " " + as)
			if !c.null && t.primary != nil {
				b.WriteString(" NOT NULL")
			}
		}
		if t.primary != nil {
			fmt.Fprintf(&b, ", PRIMARY KEY (%s)", strings.Join(t.primary, ", "))
		}
		b.WriteString(");\n")
	}
	return b.String()
}

// dataSQL fills the tables with rows; it gives the same rows each time.
func dataSQL() string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for _, t := range tables {
		fmt.Fprintf(&b, "INSERT INTO %s VALUES\n", t.name)
		for i := range t.rows {
			if i > 0 {
				b.WriteString(",\n")
			}
			b.WriteByte('(')
			for j, c := range t.columns {
				if j > 0 {
					b.WriteString(", ")
				}
				b.WriteString(datum(r, &c))
			}
			b.WriteByte(')')
		}
		b.WriteString("\nON CONFLICT DO NOTHING;\n")
	}
	return b.String()
}

// datum is a value of a row, as SQL.
func datum(r *rand.Rand, c *column) string {
	switch {
	case c.null && r.IntN(6) == 0:
		return "NULL"
	case c.small:
		return fmt.Sprint(r.IntN(9) - 2)
	case c.as == "numeric(12,2)":
		return fmt.Sprintf("%d.%02d", r.IntN(40)-10, r.IntN(4)*25)
	}
	return quote(c.kind.pool[r.IntN(len(c.kind.pool))])
}
