package hash

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/pgtest"
)

func TestAssignedValuesAreWhatTheServerStores(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	ctx, conn := session(t, c)
	columns := []string{
		"smallint", "integer", "bigint", "varchar(1)", "varchar(3)", "varchar(40)", "varchar", "character(1)", "character(4)", "bpchar", "text", "numeric", "numeric(5,2)", "numeric(10,0)", "numeric(38,10)", "numeric(1000,1000)",
		"date", "time(0)", "time(4)", "time", "timestamp(0)", "timestamp(3)", "timestamp(6)", "timestamptz(0)", "timestamptz(1)", "timestamptz", "boolean", "uuid", "bytea", "inet", "oid",
	}
	if c.MustValue(t, "postgres", "SELECT current_setting('server_version_num')::int >= 150000") == "true" {
		columns = append(columns, "numeric(3,-2)", "numeric(2,5)")
	}
	for i, column := range columns {
		typ, err := TypeByName(column)
		if err != nil {
			t.Fatal(err)
		}
		base := typ // of the value: wider integers do not always fit
		if typ.kind == kindInt {
			base, _ = TypeByOID(20)
		}
		c.MustExec(t, "postgres",
			fmt.Sprintf("CREATE TABLE a%d (v %s)", i, column),
			fmt.Sprintf(`CREATE FUNCTION a%[1]d(s text) RETURNS bytea LANGUAGE plpgsql AS $$
				DECLARE stored bytea;
				BEGIN
					INSERT INTO a%[1]d VALUES (CAST(s AS %[2]s)) RETURNING %[3]s(v) INTO stored;
					RETURN stored;
				EXCEPTION WHEN data_exception THEN RETURN NULL;
				END $$`, i, sqlName(base), sendFunctions[typ.Name]))
		var typmod int32
		if err := conn.QueryRow(ctx, "SELECT atttypmod FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = 'v'", fmt.Sprintf("a%d", i)).Scan(&typmod); err != nil {
			t.Fatal(err)
		}

		r := rand.New(rand.NewPCG(*seed, uint64(i)))
		var texts []string
		var values []Value
		for _, s := range append(textsOf(r, base, 300), assignEdges[base.Name]...) {
			if v, err := base.ParseString(s); err == nil {
				texts, values = append(texts, s), append(values, v)
			}
		}
		rows, err := conn.Query(ctx, fmt.Sprintf("SELECT a%d(s) FROM unnest($1::text[]) WITH ORDINALITY u(s, n) ORDER BY n", i), texts)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil {
			t.Fatal(err)
		}
		for k, b := range stored {
			got, err := typ.Assign(values[k], typmod)
			if b == nil {
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: %q is assigned as %v, %v, but the server rejects it", column, texts[k], got, err)
				}
				continue
			}
			want, parseErr := typ.ParseBinary(b)
			if parseErr != nil && typ.kind != kindTimestamp && typ.kind != kindTimestamptz { // these are rounded out of range
				t.Fatal(parseErr)
			}
			if parseErr == nil && (err != nil || got != want) {
				t.Errorf("%s: %q is assigned as\n%v, %v; the server stores\n%v", column, texts[k], got, err, want)
			}
		}
	}
}

// assignEdges are texts at the limits of modifiers.
var assignEdges = map[string][]string{
	"numeric":                     {"999.994", "999.995", "-999.995", "0.005", "0.0049999", "-0.005", "0.5", "1.5", "9999999999.4", "9999999999.5", "49", "50", "-50", "99949", "99950", "0.00999", "0.009994", "0.009995", "0.000004", "0.000005", "0.01", "1e-1000", "9e-1000", "5e-1001", "4e-1001", "1"},
	"character varying":           {"abc", "abcd", "abc ", "abc    ", "äöü", "äöüß", "äöü  ", "日本語 x", "ab  x"},
	"character":                   {"abcd", "abcde", "abcd ", "abcd    ", "äöüß", "äöüßx", "äöüß  "},
	"time without time zone":      {"23:59:59.5", "23:59:59.499999", "23:59:59.99995", "00:00:00.5", "24:00:00"},
	"timestamp without time zone": {"1999-12-31 23:59:59.5", "1999-12-31 23:59:59.499999", "2000-01-01 00:00:00.0005", "1999-12-31 23:59:59.9995", "1999-12-31 23:59:59.9994"},
	"timestamp with time zone":    {"1999-12-31 23:59:59.5Z", "1999-12-31 23:59:59.95Z", "2000-01-01 00:00:00.05Z"},
}

func TestAssignmentTellsWhatItCannotKnow(t *testing.T) {
	t.Parallel()
	varchar, _ := TypeByName("varchar")
	bigint, _ := TypeByName("bigint")
	cidr, _ := TypeByName("cidr")
	inet, _ := TypeByName("inet")
	v, err := varchar.ParseString("\xff\xff\xff\xff")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := varchar.Assign(v, 3+typmodHeader); !errors.Is(err, ErrDepends) {
		t.Errorf("more bytes than characters allowed, of no known encoding: %v", err)
	}
	if _, err := bigint.Assign(v, -1); !errors.Is(err, ErrDepends) {
		t.Errorf("a text for a bigint: %v", err)
	}
	if v, err = inet.ParseString("10.0.0.1/8"); err != nil {
		t.Fatal(err)
	}
	if _, err := cidr.Assign(v, -1); !errors.Is(err, ErrDepends) {
		t.Errorf("a host for a cidr: %v", err)
	}
	if v, err := bigint.Assign(Null(), -1); err != nil || !v.IsNull() {
		t.Errorf("NULL is assigned as %v, %v", v, err)
	}
	long, _ := varchar.ParseString(strings.Repeat("x", 1000))
	if _, err := varchar.Assign(long, 3+typmodHeader); !errors.Is(err, ErrInvalid) || len(err.Error()) > 200 {
		t.Errorf("a long text: %v", err)
	}
}
