package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgdrover/internal/sqlparse"

	"pgdrover/internal/config"
)

// guardSchema holds what pgdrover installs on a shard.
const guardSchema = "pgdrover"

// guardConstraint is the name of the placement guard on each table.
const guardConstraint = "pgdrover_key"

// GuardKey is a sharding key as the placement guard sees it.
type GuardKey struct {
	Name   string
	Types  []string       // as SQL writes them
	Bounds []config.Bound // of all shards; for hash over the shards in order, spelled out
	Tables []GuardTable
	// Collation under which texts are compared in ranges, and written in the key's table; "" = the column's own.
	Collation string
}

// GuardTable is a table that carries a key.
type GuardTable struct {
	Name    Name
	Columns []string // in the key's order
}

// GuardSQL returns the SQL that installs the placement guard for all keys on one shard, in place of what was installed before.
// The statements of install run in one transaction; it takes an ACCESS EXCLUSIVE lock on each table, for a moment: the rows that are
// there are not read. From its commit on no row of another shard can be stored. Each statement of validate reads one table, and
// fails with 23514 if it has a row of another shard; reads and writes go on meanwhile, when each is a transaction of its own.
//
// The constraint of a hash key refers to the empty table pgdrover.key_<name>: a dump of a table alone, or of other schemas only, cannot be
// restored before that table is there; a dump of the database can.
func GuardSQL(shard string, keys []GuardKey) (install, validate []string, err error) {
	install = append([]string{schemaSQL}, RemoveGuardSQL()...)
	seen := map[Name]string{}
	for _, key := range keys {
		if len(key.Types) == 0 {
			return nil, nil, fmt.Errorf("key %s: no type", key.Name)
		}
		parent, err := key.parentSQL()
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", key.Name, err)
		}
		install = append(install, parent)
		for _, t := range key.Tables {
			if other, ok := seen[t.Name]; ok {
				return nil, nil, fmt.Errorf("table %s carries two keys, %s and %s", t.Name, other, key.Name)
			}
			seen[t.Name] = key.Name
			check, err := key.checkSQL(shard, t)
			if err != nil {
				return nil, nil, fmt.Errorf("key %s, table %s: %w", key.Name, t.Name, err)
			}
			install = append(install, fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s) NOT VALID", quoteName(t.Name), guardConstraint, check))
			validate = append(validate, fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", quoteName(t.Name), guardConstraint))
		}
	}
	return install, validate, nil
}

// RemoveGuardSQL returns the SQL that takes the placement guard away from all tables of a database, to run in one transaction.
// It works where there is none.
func RemoveGuardSQL() []string {
	return []string{`DO $pgdrover$
DECLARE t pg_catalog.regclass;
BEGIN
  LOOP -- dropping a parent's lets go of its children's, which are then the next to go
    SELECT conrelid INTO t FROM pg_catalog.pg_constraint WHERE conname OPERATOR(pg_catalog.=) '` + guardConstraint + `' AND contype OPERATOR(pg_catalog.=) 'c'
    AND conrelid OPERATOR(pg_catalog.<>) 0 AND conislocal AND coninhcount OPERATOR(pg_catalog.=) 0 LIMIT 1;
    EXIT WHEN NOT FOUND;
    EXECUTE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT ` + guardConstraint + `', t);
  END LOOP;
  FOR t IN SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) '` + guardSchema + `' AND pg_catalog.starts_with(c.relname, 'key_') AND c.relkind OPERATOR(pg_catalog.=) 'p'
  LOOP
    EXECUTE pg_catalog.format('DROP TABLE %s', t);
  END LOOP;
END $pgdrover$`}
}

// schemaSQL creates the schema. Its privileges follow what is in it: whoever uses the database may call its functions.
const schemaSQL = `CREATE SCHEMA IF NOT EXISTS ` + guardSchema

func (k GuardKey) strategy() (config.BoundKind, error) {
	kind := config.BoundDefault
	for _, b := range k.Bounds {
		switch {
		case b.Kind == config.BoundDefault:
		case kind == config.BoundDefault:
			kind = b.Kind
		case kind != b.Kind:
			return 0, fmt.Errorf("bounds of kind %s and of kind %s", kind, b.Kind)
		}
	}
	switch {
	case kind == config.BoundDefault:
		return 0, errors.New("no bound but DEFAULT")
	case kind == config.BoundHash && slices.ContainsFunc(k.Bounds, func(b config.Bound) bool { return b.Kind == config.BoundDefault }):
		return 0, errors.New("hash has no DEFAULT")
	case kind == config.BoundList && len(k.Types) != 1:
		return 0, errors.New("a list has one column")
	}
	return kind, nil
}

func (k GuardKey) table() Name { return Name{guardSchema, "key_" + k.Name} }

// parentSQL creates the empty table whose partitions the shards are. Its name is cut by PostgreSQL where it is too long, which would mix
// up keys; that is refused.
func (k GuardKey) parentSQL() (string, error) {
	kind, err := k.strategy()
	if err != nil {
		return "", err
	}
	if n := len(k.table().Name); n > 63 {
		return "", fmt.Errorf("the name is too long: pgdrover.key_… has room for %d bytes", 63-len("key_"))
	}
	var columns, names []string
	for i, t := range k.Types {
		name := "k"
		if i > 0 {
			name = fmt.Sprintf("k%d", i+1)
		}
		if k.Collation != "" && textual(t) {
			t += " COLLATE " + sqlparse.QuoteIdent(k.Collation)
		}
		columns, names = append(columns, name+" "+t), append(names, name)
	}
	return fmt.Sprintf("CREATE TABLE %s (%s) PARTITION BY %s (%s)", quoteName(k.table()), strings.Join(columns, ", "),
		strings.ToUpper(kind.String()), strings.Join(names, ", ")), nil
}

// textual tells whether a type as SQL writes it has a collation.
func textual(t string) bool {
	t, _, _ = strings.Cut(strings.ToLower(t), "(")
	switch strings.TrimSpace(t) {
	case "text", "varchar", "character varying", "char", "character", "bpchar":
		return true
	}
	return false
}

// checkSQL returns the condition that the rows of a table on this shard meet: PostgreSQL's own for partitions with these bounds.
func (k GuardKey) checkSQL(shard string, t GuardTable) (string, error) {
	if len(t.Columns) != len(k.Types) {
		return "", fmt.Errorf("%d columns for %d types", len(t.Columns), len(k.Types))
	}
	kind, err := k.strategy()
	if err != nil {
		return "", err
	}
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		// satisfies_hash_partition wants the key's very type; the cast of a column that has it already costs nothing.
		columns[i] = fmt.Sprintf("%s::%s", sqlparse.QuoteIdent(c), k.Types[i])
		if k.Collation != "" && textual(k.Types[i]) && kind != config.BoundHash {
			columns[i] = fmt.Sprintf("(%s COLLATE %s)", columns[i], sqlparse.QuoteIdent(k.Collation))
		}
	}
	var here, elsewhere []string
	nulls := "" // who may have NULL: a list with it, else DEFAULT
	anyNull := false
	isDefault := false
	for _, b := range k.Bounds {
		if b.Kind == config.BoundDefault {
			isDefault = isDefault || b.Shard == shard
			continue
		}
		cond, null, err := k.bound(b, columns)
		if err != nil {
			return "", err
		}
		anyNull = anyNull || null
		if b.Shard == shard {
			if cond != "" {
				here = append(here, cond)
			}
			if null {
				nulls = anyIsNull(t.Columns)
			}
		} else if cond != "" {
			elsewhere = append(elsewhere, cond)
		}
	}
	if isDefault {
		// What no other bound takes. Where all are on this shard, that is everything.
		if len(elsewhere) == 0 {
			here = []string{"true"}
		} else {
			here = append(here, "NOT ("+strings.Join(elsewhere, " OR ")+")")
		}
		if !anyNull {
			nulls = anyIsNull(t.Columns)
		}
	}
	cond := "false"
	if len(here) > 0 {
		cond = strings.Join(here, " OR ")
	}
	notNull := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		notNull[i] = sqlparse.QuoteIdent(c) + " IS NOT NULL"
	}
	cond = strings.Join(notNull, " AND ") + " AND (" + cond + ")"
	if nulls != "" {
		cond = nulls + " OR " + cond
	}
	return cond, nil
}

func anyIsNull(columns []string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = sqlparse.QuoteIdent(c) + " IS NULL"
	}
	return strings.Join(parts, " OR ")
}

// bound returns the condition of one bound for values that are not NULL ("" if it takes none), and whether it takes NULL.
func (k GuardKey) bound(b config.Bound, columns []string) (cond string, null bool, err error) {
	switch b.Kind {
	case config.BoundHash:
		if b.Modulus < 1 || b.Remainder < 0 || b.Remainder >= b.Modulus {
			return "", false, fmt.Errorf("modulus %d, remainder %d", b.Modulus, b.Remainder)
		}
		return fmt.Sprintf("pg_catalog.satisfies_hash_partition(%s::pg_catalog.regclass, %d, %d, %s)",
			sqlparse.QuoteLiteral(quoteName(k.table())), b.Modulus, b.Remainder, strings.Join(columns, ", ")), false, nil
	case config.BoundList:
		var values []string
		for _, v := range b.In {
			if v.Word == "NULL" {
				null = true
			} else {
				values = append(values, k.literal(v, 0))
			}
		}
		if len(values) == 0 {
			return "", null, nil
		}
		return fmt.Sprintf("%s = ANY (ARRAY[%s])", columns[0], strings.Join(values, ", ")), null, nil
	}
	if len(b.From) != len(columns) || len(b.To) != len(columns) {
		return "", false, fmt.Errorf("a range from %d to %d values for %d columns", len(b.From), len(b.To), len(columns))
	}
	var parts []string
	for i, side := range [...][]config.BoundValue{b.From, b.To} {
		if s := k.side(side, columns, i == 0); s != "" {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return "true", false, nil
	}
	return "(" + strings.Join(parts, " AND ") + ")", false, nil
}

// side returns the condition of one end of a range, "" if it has none: rows are compared column by column up to the first MINVALUE or
// MAXVALUE, which decides between equal ones.
func (k GuardKey) side(values []config.BoundValue, columns []string, lower bool) string {
	operator := "<"
	if lower {
		operator = ">="
	}
	var left, right []string
	for i, v := range values {
		switch {
		case v.Word == "MINVALUE" && lower, v.Word == "MAXVALUE" && !lower:
			operator = map[bool]string{true: ">=", false: "<="}[lower]
		case v.Word == "MAXVALUE", v.Word == "MINVALUE":
			operator = map[bool]string{true: ">", false: "<"}[lower]
		default:
			left, right = append(left, columns[i]), append(right, k.literal(v, i))
			continue
		}
		if i == 0 && (operator == ">" || operator == "<") {
			return "false" // from MAXVALUE, or to MINVALUE
		}
		break
	}
	if len(left) == 0 {
		return ""
	}
	if len(left) == 1 {
		return left[0] + " " + operator + " " + right[0]
	}
	return "ROW(" + strings.Join(left, ", ") + ") " + operator + " ROW(" + strings.Join(right, ", ") + ")"
}

func (k GuardKey) literal(v config.BoundValue, i int) string {
	return strings.TrimSpace(sqlparse.QuoteLiteral(v.Text)) + "::" + k.Types[i]
}
